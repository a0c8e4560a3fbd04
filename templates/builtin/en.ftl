# English texts of every mail, and the fallback of all other languages.
#
# Every message may use $service_name and the variables of its mail: those that its template shows.
# Subjects may use $service_name only.

## Parts that all mails share

greeting = Hello { $username },
link-fallback = If the button does not work, copy this address into your browser:
valid-hours = The link works for { $valid_hours ->
        [one] one hour
       *[other] { $valid_hours } hours
    }.
valid-minutes = The link works for { $valid_minutes ->
        [one] one minute
       *[other] { $valid_minutes } minutes
    }.
row = { $name }: { $value }
footer = You receive this message because this address was used at { $service_name }.

## How values are written

decimal-point = .
digit-group = ,
moment = { $day } { $month ->
        [1] January
        [2] February
        [3] March
        [4] April
        [5] May
        [6] June
        [7] July
        [8] August
        [9] September
        [10] October
        [11] November
       *[12] December
    } { $year } at { $hour }:{ $minute } UTC
money = { $amount } { $currency }

## Names of values

label-at = Date
label-balance = Balance
label-credits = Credits
label-ends-at = End of the subscription
label-identity = Linked account
label-item = Purchase
label-old-plan = Plan before
label-period-end = Paid until
label-plan = Plan
label-price = Price
label-provider = Provider
label-retry-at = Next attempt

## welcome

welcome-subject = Welcome to { $service_name }
welcome-preheader = Please confirm your email address.
welcome-body = Thank you for registering at { $service_name }. Please confirm that this email address is yours.
welcome-action = Confirm address
welcome-note = If you did not register, you can ignore this message.

## verify_email

verify-email-subject = Confirm your email address for { $service_name }
verify-email-preheader = One click and your address is confirmed.
verify-email-body = Please confirm that this email address belongs to your account at { $service_name }.
verify-email-action = Confirm address
verify-email-note = If you did not register, you can ignore this message.

## password_reset

password-reset-subject = Reset your { $service_name } password
password-reset-preheader = Choose a new password.
password-reset-body = Somebody, hopefully you, asked to reset the password of your account at { $service_name }.
password-reset-action = Choose a new password
password-reset-note = If it was not you, ignore this message: your password stays as it is.

## password_changed

password-changed-subject = Your { $service_name } password was changed
password-changed-preheader = If it was not you, reset your password at once.
password-changed-body = The password of your account at { $service_name } was changed on { $at }. If it was you, there is nothing to do.
password-changed-warning = If it was not you, reset your password at once: somebody else may have access to your account.

## email_change_verify

email-change-verify-subject = Confirm your new email address for { $service_name }
email-change-verify-preheader = The new address takes effect when you confirm it.
email-change-verify-body = You asked to use this email address for your account at { $service_name }. It takes effect when you confirm it.
email-change-verify-action = Confirm new address
email-change-verify-note = If you did not ask for this, ignore this message: the account keeps its old address.

## email_change_notice

email-change-notice-subject = Your { $service_name } email address is about to change
email-change-notice-preheader = If it was not you, cancel the change.
email-change-notice-body = Somebody, hopefully you, asked to change the email address of your account at { $service_name } to:
email-change-notice-explain = If it was you, there is nothing to do here. If it was not you, cancel the change and then reset your password.
email-change-notice-action = Cancel the change

## account_deleted

account-deleted-subject = Your { $service_name } account was deleted
account-deleted-preheader = You can no longer sign in with it.
account-deleted-body = Your account at { $service_name } was deleted on { $at }, and you can no longer sign in with it.
account-deleted-note = If you did not ask for this, please contact { $service_name }.

## account_exists

account-exists-subject = You already have an account at { $service_name }
account-exists-preheader = Somebody tried to register with your address.
account-exists-body = Somebody, perhaps you, tried to register at { $service_name } with this email address. It already has an account, so no new one was made. If you forgot your password, you can choose a new one.
account-exists-action = Choose a new password
account-exists-note = If it was not you, ignore this message: your account and your password stay as they are.

## google_linked

google-linked-subject = A new way to sign in to { $service_name }
google-linked-preheader = If it was not you, secure your account.
google-linked-body = You can now sign in to { $service_name } with { $provider }. If it was you who set this up, there is nothing to do.
google-linked-warning = If it was not you, reset your password at once and remove this way to sign in: somebody else may have access to your account.

## google_unlinked

google-unlinked-subject = A way to sign in to { $service_name } was removed
google-unlinked-preheader = If it was not you, secure your account.
google-unlinked-body = You can no longer sign in to { $service_name } with { $provider }. If it was you who removed it, there is nothing to do.
google-unlinked-warning = If it was not you, reset your password at once: somebody else may have access to your account.

## credit_purchase

credit-purchase-subject = Your { $service_name } credits have arrived
credit-purchase-preheader = Thank you for your purchase.
credit-purchase-body = Thank you for your purchase at { $service_name }. The credits are in your account.

## subscription_started

subscription-started-subject = Your { $service_name } subscription has started
subscription-started-preheader = Thank you for subscribing.
subscription-started-body = Thank you for subscribing at { $service_name }. The credits of the first period are in your account.

## subscription_renewed

subscription-renewed-subject = Your { $service_name } subscription was renewed
subscription-renewed-preheader = The credits of the new period are in your account.
subscription-renewed-body = Your subscription at { $service_name } was renewed. The credits of the new period are in your account.

## subscription_cancelled

subscription-cancelled-subject = Your { $service_name } subscription was cancelled
subscription-cancelled-preheader = It will not renew.
subscription-cancelled-body = Your subscription at { $service_name } was cancelled. It will not renew, and no further payments will be taken.
subscription-cancelled-note = If you did not ask for this, please contact { $service_name }.

## plan_upgrade

plan-upgrade-subject = Your { $service_name } plan was upgraded
plan-upgrade-preheader = Your new plan is in effect.
plan-upgrade-body = Your subscription at { $service_name } has a new plan, in effect from now on. The additional credits are in your account.

## payment_failed

payment-failed-subject = A payment to { $service_name } failed
payment-failed-preheader = Please check your payment method.
payment-failed-body = The payment for your subscription at { $service_name } failed.
payment-failed-retried = It will be tried again automatically. Please make sure that your payment method is valid and has sufficient funds.
payment-failed-last = It will not be tried again. Without a payment the subscription will end.
payment-failed-action = Pay now

## test

test-subject = Test message from { $service_name }
test-preheader = Mail delivery works.
test-body = This is a test message from { $service_name }, sent on { $at }. If you can read it, mail delivery works.
