# English texts of every mail, and the fallback of all other languages.
#
# Every message may use the variables of its mail: $service_name, $username and,
# where the mail has them, $link, $valid_hours, $valid_minutes, $new_email.
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
footer = You receive this message because this address was used at { $service_name }.

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
password-changed-body = The password of your account at { $service_name } was changed. If it was you, there is nothing to do.
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
account-deleted-body = Your account at { $service_name } was deleted, and you can no longer sign in with it.
account-deleted-note = If you did not ask for this, please contact { $service_name }.

## account_exists

account-exists-subject = You already have an account at { $service_name }
account-exists-preheader = Somebody tried to register with your address.
account-exists-body = Somebody, perhaps you, tried to register at { $service_name } with this email address. It already has an account, so no new one was made. If you forgot your password, you can choose a new one.
account-exists-action = Choose a new password
account-exists-note = If it was not you, ignore this message: your account and your password stay as they are.
