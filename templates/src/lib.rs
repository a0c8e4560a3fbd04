//! The mails of auth-tower, as HTML and as plain text.
//!
//! 1. A [`Mail`] says what happened and holds all that its template may show.
//! 2. [`Templates::render`] makes a subject and both parts of it, in one language.
//! 3. Words come from message files (`en.ftl`), shape from templates (`mail/welcome.html`,
//!    `mail/welcome.txt`), and the frame from one layout for each part.
//! 4. What a user typed is data: escaped in HTML, raw in plain text, absent from the subject,
//!    and never read as template or message syntax. A name that runs the other way is isolated
//!    from the words around it.
//! 5. All templates are tried in every language when [`Templates`] is made, so a broken one stops
//!    the service at its start and not a user's password reset: what a template or a message names
//!    must be there in every branch, and each mail is rendered with links that live for several
//!    times, and with and without what it may lack. A fault that shows for one name or price alone
//!    can stay hidden in a host's templates; `auth-core` sends such a mail by the built-in ones.
//!
//! ```
//! use auth_templates::{Mail, Templates, time::OffsetDateTime};
//!
//! # fn main() -> Result<(), auth_templates::TemplateError> {
//! let templates = Templates::builtin()?;
//! let locale = templates.negotiate("de-AT, en;q=0.8");
//! let at = OffsetDateTime::UNIX_EPOCH.into();
//! let mail = Mail::PasswordChanged { username: "ada".to_owned(), at };
//! let rendered = templates.render(&locale, "Example", &mail)?;
//! assert_eq!(rendered.subject, "Ihr Passwort für Example wurde geändert");
//! # Ok(())
//! # }
//! ```
//!
//! # Overriding texts and templates
//!
//! [`Templates::with_overrides`] takes a folder. A file in it replaces the built-in one at the same
//! place:
//!
//! - `mail/<name>.html`, `mail/<name>.txt`: one mail, named as by [`Mail::name`];
//! - `mail/layout.html`, `mail/layout.txt`: the frame of all mails;
//! - `mail/_row.html`: how HTML parts show one of several facts;
//! - `<locale>.ftl`: messages in the Fluent syntax. They are replaced one by one, so the file may
//!   hold only what differs. A file for a language that is not built in adds that language; what it
//!   lacks is taken from English.
//!
//! Templates see `service_name`, `subject`, `locale`, `direction` (`ltr` or `rtl`), the fields of the
//! mail, and the function `t("message-id")`. Messages see `$service_name` and the fields of the mail, and
//! whatever else is passed: `t("message-id", colour="red")`. A subject sees `$service_name` only.
//! Amounts, prices and moments are text by then, written by the messages `decimal-point`, `digit-group`,
//! `money` and `moment`. What a mail may lack is asked for by `{% if link is defined %}`.
//! A template whose name starts with `_` may be included by others: it names fields of mails, its own variables, and those
//! that a template sets outside of blocks and branches. Text parts may use the filter `wrap`.

mod error;
mod files;
mod mail;
mod plain;
mod templates;
mod texts;
mod values;

pub use error::TemplateError;
pub use mail::{Mail, PaidPeriod};
pub use templates::{Check, Rendered, Templates};
pub use time;
pub use values::{Amount, Moment, Money};
