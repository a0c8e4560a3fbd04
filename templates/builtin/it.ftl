# Italian texts of every mail. The reader is addressed with "tu" throughout, and without a gender.

## Parts that all mails share

greeting = Ciao { $username },
link-fallback = Se il pulsante non funziona, copia questo indirizzo nel browser:
valid-hours = Il link è valido per { $valid_hours ->
        [one] un’ora
       *[other] { $valid_hours } ore
    }.
valid-minutes = Il link è valido per { $valid_minutes ->
        [one] un minuto
       *[other] { $valid_minutes } minuti
    }.
row = { $name }: { $value }
footer = Ricevi questo messaggio perché questo indirizzo è stato usato su { $service_name }.

## How values are written

decimal-point = ,
digit-group = .
moment = { $day ->
        [1] 1º
       *[other] { $day }
    } { $month ->
        [1] gennaio
        [2] febbraio
        [3] marzo
        [4] aprile
        [5] maggio
        [6] giugno
        [7] luglio
        [8] agosto
        [9] settembre
        [10] ottobre
        [11] novembre
       *[12] dicembre
    } { $year }, ore { $hour }:{ $minute } UTC
money = { $amount } { $currency }

## Names of values

label-at = Data
label-balance = Saldo
label-credits = Crediti
label-ends-at = Fine dell’abbonamento
label-identity = Account collegato
label-item = Acquisto
label-old-plan = Piano precedente
label-period-end = Fine del periodo pagato
label-plan = Piano
label-price = Prezzo
label-provider = Servizio
label-retry-at = Prossimo tentativo

## welcome

welcome-subject = Ti diamo il benvenuto su { $service_name }
welcome-preheader = Conferma il tuo indirizzo e-mail.
welcome-body = Grazie per la tua registrazione su { $service_name }. Conferma che questo indirizzo e-mail è tuo.
welcome-action = Conferma l’indirizzo
welcome-note = Se la registrazione non è tua, puoi ignorare questo messaggio.

## verify_email

verify-email-subject = Conferma il tuo indirizzo e-mail per { $service_name }
verify-email-preheader = Basta un clic per confermare il tuo indirizzo.
verify-email-body = Conferma che questo indirizzo e-mail appartiene al tuo account su { $service_name }.
verify-email-action = Conferma l’indirizzo
verify-email-note = Se la registrazione non è tua, puoi ignorare questo messaggio.

## password_reset

password-reset-subject = Reimposta la tua password di { $service_name }
password-reset-preheader = Scegli una nuova password.
password-reset-body = Qualcuno, probabilmente tu, ha chiesto di reimpostare la password del tuo account su { $service_name }.
password-reset-action = Scegli una nuova password
password-reset-note = Se non l’hai fatto tu, ignora questo messaggio: la tua password resta quella di prima.

## password_changed

password-changed-subject = La tua password di { $service_name } è stata cambiata
password-changed-preheader = Se non l’hai fatto tu, reimposta subito la password.
password-changed-body = La password del tuo account su { $service_name } è stata cambiata in data { $at }. Se l’hai fatto tu, non devi fare altro.
password-changed-warning = Se non l’hai fatto tu, reimposta subito la password: qualcun altro potrebbe avere accesso al tuo account.

## email_change_verify

email-change-verify-subject = Conferma il tuo nuovo indirizzo e-mail per { $service_name }
email-change-verify-preheader = Il nuovo indirizzo sarà attivo dopo la tua conferma.
email-change-verify-body = Hai chiesto di usare questo indirizzo e-mail per il tuo account su { $service_name }. Sarà attivo dopo la tua conferma.
email-change-verify-action = Conferma il nuovo indirizzo
email-change-verify-note = Se non l’hai chiesto tu, ignora questo messaggio: l’account mantiene il vecchio indirizzo.

## email_change_notice

email-change-notice-subject = Il tuo indirizzo e-mail di { $service_name } sta per cambiare
email-change-notice-preheader = Se non l’hai fatto tu, annulla la modifica.
email-change-notice-body = Qualcuno, probabilmente tu, ha chiesto di cambiare l’indirizzo e-mail del tuo account su { $service_name } in:
email-change-notice-explain = Se l’hai fatto tu, qui non devi fare nulla. Altrimenti annulla la modifica e poi reimposta la password.
email-change-notice-action = Annulla la modifica

## account_deleted

account-deleted-subject = Il tuo account di { $service_name } è stato eliminato
account-deleted-preheader = Non puoi più usarlo per accedere.
account-deleted-body = Il tuo account su { $service_name } è stato eliminato in data { $at } e non puoi più usarlo per accedere.
account-deleted-note = Se non l’hai chiesto tu, contatta { $service_name }.

## account_exists

account-exists-subject = Hai già un account su { $service_name }
account-exists-preheader = Qualcuno ha provato a registrarsi con il tuo indirizzo.
account-exists-body = Qualcuno, forse tu, ha provato a registrarsi su { $service_name } con questo indirizzo e-mail. L’indirizzo ha già un account, quindi non ne è stato creato uno nuovo. Se hai dimenticato la password, puoi sceglierne una nuova.
account-exists-action = Scegli una nuova password
account-exists-note = Se non l’hai fatto tu, ignora questo messaggio: il tuo account e la tua password restano come sono.

## google_linked

google-linked-subject = Un nuovo modo per accedere a { $service_name }
google-linked-preheader = Se non l’hai fatto tu, metti al sicuro il tuo account.
google-linked-body = Ora puoi accedere a { $service_name } con { $provider }. Se l’hai impostato tu, non devi fare altro.
google-linked-warning = Se non l’hai fatto tu, reimposta subito la password e rimuovi questo modo di accedere: qualcun altro potrebbe avere accesso al tuo account.

## google_unlinked

google-unlinked-subject = Un modo per accedere a { $service_name } è stato rimosso
google-unlinked-preheader = Se non l’hai fatto tu, metti al sicuro il tuo account.
google-unlinked-body = Non puoi più accedere a { $service_name } con { $provider }. Se l’hai rimosso tu, non devi fare altro.
google-unlinked-warning = Se non l’hai fatto tu, reimposta subito la password: qualcun altro potrebbe avere accesso al tuo account.

## credit_purchase

credit-purchase-subject = I tuoi crediti di { $service_name } sono arrivati
credit-purchase-preheader = Grazie per il tuo acquisto.
credit-purchase-body = Grazie per il tuo acquisto su { $service_name }. I crediti sono sul tuo account.

## subscription_started

subscription-started-subject = Il tuo abbonamento a { $service_name } è iniziato
subscription-started-preheader = Grazie per il tuo abbonamento.
subscription-started-body = Grazie per il tuo abbonamento a { $service_name }. I crediti del primo periodo sono sul tuo account.

## subscription_renewed

subscription-renewed-subject = Il tuo abbonamento a { $service_name } è stato rinnovato
subscription-renewed-preheader = I crediti del nuovo periodo sono sul tuo account.
subscription-renewed-body = Il tuo abbonamento a { $service_name } è stato rinnovato. I crediti del nuovo periodo sono sul tuo account.

## subscription_cancelled

subscription-cancelled-subject = Il tuo abbonamento a { $service_name } è stato disdetto
subscription-cancelled-preheader = Non sarà più rinnovato.
subscription-cancelled-body = Il tuo abbonamento a { $service_name } è stato disdetto. Non sarà più rinnovato e non ci saranno altri addebiti.
subscription-cancelled-note = Se non l’hai chiesto tu, contatta { $service_name }.

## plan_upgrade

plan-upgrade-subject = Il tuo nuovo piano di { $service_name }
plan-upgrade-preheader = Il tuo nuovo piano è attivo.
plan-upgrade-body = Il tuo abbonamento a { $service_name } ha un nuovo piano, attivo da subito. I crediti aggiuntivi sono sul tuo account.

## payment_failed

payment-failed-subject = Un pagamento a { $service_name } non è riuscito
payment-failed-preheader = Controlla il tuo metodo di pagamento.
payment-failed-body = Il pagamento del tuo abbonamento a { $service_name } non è riuscito.
payment-failed-retried = Verrà ritentato automaticamente. Assicurati che il tuo metodo di pagamento sia valido e abbia fondi sufficienti.
payment-failed-last = Non verrà ritentato. Senza pagamento l’abbonamento terminerà.
payment-failed-action = Paga ora

## test

test-subject = Messaggio di prova da { $service_name }
test-preheader = L’invio delle mail funziona.
test-body = Questo è un messaggio di prova da { $service_name }, inviato in data { $at }. Se riesci a leggerlo, l’invio delle mail funziona.
