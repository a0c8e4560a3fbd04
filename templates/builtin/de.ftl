# German texts of every mail. The reader is addressed as "Sie" throughout.

## Parts that all mails share

greeting = Hallo { $username },
link-fallback = Falls die Schaltfläche nicht funktioniert, kopieren Sie diese Adresse in Ihren Browser:
valid-hours = Der Link ist { $valid_hours ->
        [one] eine Stunde
       *[other] { $valid_hours } Stunden
    } lang gültig.
valid-minutes = Der Link ist { $valid_minutes ->
        [one] eine Minute
       *[other] { $valid_minutes } Minuten
    } lang gültig.
row = { $name }: { $value }
footer = Sie erhalten diese Nachricht, weil diese Adresse bei { $service_name } verwendet wurde.

## How values are written

decimal-point = ,
digit-group = .
moment = { $day }. { $month ->
        [1] Januar
        [2] Februar
        [3] März
        [4] April
        [5] Mai
        [6] Juni
        [7] Juli
        [8] August
        [9] September
        [10] Oktober
        [11] November
       *[12] Dezember
    } { $year } um { $hour }:{ $minute } Uhr (UTC)
money = { $amount } { $currency }

## Names of values

label-at = Datum
label-balance = Guthaben
label-credits = Credits
label-ends-at = Ende des Abonnements
label-identity = Verknüpftes Konto
label-item = Kauf
label-old-plan = Bisheriger Tarif
label-period-end = Bezahlt bis
label-plan = Tarif
label-price = Preis
label-provider = Anbieter
label-retry-at = Nächster Versuch

## welcome

welcome-subject = Willkommen bei { $service_name }
welcome-preheader = Bitte bestätigen Sie Ihre E-Mail-Adresse.
welcome-body = Vielen Dank für Ihre Registrierung bei { $service_name }. Bitte bestätigen Sie, dass diese E-Mail-Adresse Ihnen gehört.
welcome-action = Adresse bestätigen
welcome-note = Falls Sie sich nicht registriert haben, können Sie diese Nachricht ignorieren.

## verify_email

verify-email-subject = Bestätigen Sie Ihre E-Mail-Adresse für { $service_name }
verify-email-preheader = Ein Klick, und Ihre Adresse ist bestätigt.
verify-email-body = Bitte bestätigen Sie, dass diese E-Mail-Adresse zu Ihrem Konto bei { $service_name } gehört.
verify-email-action = Adresse bestätigen
verify-email-note = Falls Sie sich nicht registriert haben, können Sie diese Nachricht ignorieren.

## password_reset

password-reset-subject = Ihr Passwort für { $service_name } zurücksetzen
password-reset-preheader = Wählen Sie ein neues Passwort.
password-reset-body = Jemand, hoffentlich Sie selbst, möchte das Passwort Ihres Kontos bei { $service_name } zurücksetzen.
password-reset-action = Neues Passwort wählen
password-reset-note = Falls Sie das nicht waren, ignorieren Sie diese Nachricht: Ihr Passwort bleibt unverändert.

## password_changed

password-changed-subject = Ihr Passwort für { $service_name } wurde geändert
password-changed-preheader = Falls Sie das nicht waren, setzen Sie Ihr Passwort sofort zurück.
password-changed-body = Das Passwort Ihres Kontos bei { $service_name } wurde am { $at } geändert. Falls Sie das selbst waren, müssen Sie nichts weiter tun.
password-changed-warning = Falls Sie das nicht waren, setzen Sie Ihr Passwort sofort zurück: Möglicherweise hat jemand anderes Zugriff auf Ihr Konto.

## email_change_verify

email-change-verify-subject = Bestätigen Sie Ihre neue E-Mail-Adresse für { $service_name }
email-change-verify-preheader = Die neue Adresse gilt, sobald Sie sie bestätigen.
email-change-verify-body = Sie möchten diese E-Mail-Adresse für Ihr Konto bei { $service_name } verwenden. Sie gilt, sobald Sie sie bestätigen.
email-change-verify-action = Neue Adresse bestätigen
email-change-verify-note = Falls Sie das nicht veranlasst haben, ignorieren Sie diese Nachricht: Das Konto behält seine bisherige Adresse.

## email_change_notice

email-change-notice-subject = Ihre E-Mail-Adresse für { $service_name } soll geändert werden
email-change-notice-preheader = Falls Sie das nicht waren, brechen Sie die Änderung ab.
email-change-notice-body = Jemand, hoffentlich Sie selbst, möchte die E-Mail-Adresse Ihres Kontos bei { $service_name } ändern in:
email-change-notice-explain = Falls Sie das selbst waren, müssen Sie hier nichts tun. Andernfalls brechen Sie die Änderung ab und setzen Sie danach Ihr Passwort zurück.
email-change-notice-action = Änderung abbrechen

## account_deleted

account-deleted-subject = Ihr Konto bei { $service_name } wurde gelöscht
account-deleted-preheader = Sie können sich damit nicht mehr anmelden.
account-deleted-body = Ihr Konto bei { $service_name } wurde am { $at } gelöscht. Sie können sich damit nicht mehr anmelden.
account-deleted-note = Falls Sie das nicht veranlasst haben, wenden Sie sich bitte an { $service_name }.

## account_exists

account-exists-subject = Sie haben bereits ein Konto bei { $service_name }
account-exists-preheader = Jemand wollte sich mit Ihrer Adresse registrieren.
account-exists-body = Jemand, vielleicht Sie selbst, wollte sich bei { $service_name } mit dieser E-Mail-Adresse registrieren. Zu ihr gehört bereits ein Konto, daher wurde kein neues angelegt. Falls Sie Ihr Passwort vergessen haben, können Sie ein neues wählen.
account-exists-action = Neues Passwort wählen
account-exists-note = Falls Sie das nicht waren, ignorieren Sie diese Nachricht: Ihr Konto und Ihr Passwort bleiben unverändert.

## google_linked

google-linked-subject = Neue Anmeldemöglichkeit für { $service_name }
google-linked-preheader = Falls Sie das nicht waren, sichern Sie Ihr Konto.
google-linked-body = Sie können sich jetzt mit { $provider } bei { $service_name } anmelden. Falls Sie das selbst eingerichtet haben, müssen Sie nichts weiter tun.
google-linked-warning = Falls Sie das nicht waren, setzen Sie sofort Ihr Passwort zurück und entfernen Sie diese Anmeldemöglichkeit: Möglicherweise hat jemand anderes Zugriff auf Ihr Konto.

## google_unlinked

google-unlinked-subject = Eine Anmeldemöglichkeit für { $service_name } wurde entfernt
google-unlinked-preheader = Falls Sie das nicht waren, sichern Sie Ihr Konto.
google-unlinked-body = Sie können sich nicht mehr mit { $provider } bei { $service_name } anmelden. Falls Sie das selbst entfernt haben, müssen Sie nichts weiter tun.
google-unlinked-warning = Falls Sie das nicht waren, setzen Sie sofort Ihr Passwort zurück: Möglicherweise hat jemand anderes Zugriff auf Ihr Konto.

## credit_purchase

credit-purchase-subject = Ihre Credits für { $service_name } sind da
credit-purchase-preheader = Vielen Dank für Ihren Kauf.
credit-purchase-body = Vielen Dank für Ihren Kauf bei { $service_name }. Die Credits sind Ihrem Konto gutgeschrieben.

## subscription_started

subscription-started-subject = Ihr Abonnement bei { $service_name } hat begonnen
subscription-started-preheader = Vielen Dank für Ihr Abonnement.
subscription-started-body = Vielen Dank für Ihr Abonnement bei { $service_name }. Die Credits für den ersten Zeitraum sind Ihrem Konto gutgeschrieben.

## subscription_renewed

subscription-renewed-subject = Ihr Abonnement bei { $service_name } wurde verlängert
subscription-renewed-preheader = Die Credits für den neuen Zeitraum sind gutgeschrieben.
subscription-renewed-body = Ihr Abonnement bei { $service_name } wurde verlängert. Die Credits für den neuen Zeitraum sind Ihrem Konto gutgeschrieben.

## subscription_cancelled

subscription-cancelled-subject = Ihr Abonnement bei { $service_name } wurde gekündigt
subscription-cancelled-preheader = Es verlängert sich nicht mehr.
subscription-cancelled-body = Ihr Abonnement bei { $service_name } wurde gekündigt. Es verlängert sich nicht mehr, und es wird nichts mehr abgebucht.
subscription-cancelled-note = Falls Sie das nicht veranlasst haben, wenden Sie sich bitte an { $service_name }.

## plan_upgrade

plan-upgrade-subject = Ihr neuer Tarif bei { $service_name }
plan-upgrade-preheader = Ihr neuer Tarif gilt ab sofort.
plan-upgrade-body = Ihr Abonnement bei { $service_name } hat einen neuen Tarif, der ab sofort gilt. Die zusätzlichen Credits sind Ihrem Konto gutgeschrieben.

## payment_failed

payment-failed-subject = Eine Zahlung an { $service_name } ist fehlgeschlagen
payment-failed-preheader = Bitte prüfen Sie Ihr Zahlungsmittel.
payment-failed-body = Die Zahlung für Ihr Abonnement bei { $service_name } ist fehlgeschlagen.
payment-failed-retried = Der Betrag wird automatisch erneut eingezogen. Bitte stellen Sie sicher, dass Ihr Zahlungsmittel gültig und gedeckt ist.
payment-failed-last = Es gibt keinen weiteren Versuch. Ohne Zahlung endet das Abonnement.
payment-failed-action = Jetzt bezahlen

## test

test-subject = Testnachricht von { $service_name }
test-preheader = Der Mailversand funktioniert.
test-body = Dies ist eine Testnachricht von { $service_name }, gesendet am { $at }. Wenn Sie sie lesen können, funktioniert der Mailversand.
