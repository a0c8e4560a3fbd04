//! Connection URLs, in the spellings that deployments use.

use std::{net::IpAddr, str::FromStr};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::SchemaError;

/// Reads a URL; what went wrong is told without it, because it holds a password.
pub(crate) fn parse(url: &str) -> Result<PgConnectOptions, SchemaError> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| unknown(url.split(':').next().unwrap_or_default()))?;
    let url = match scheme {
        "postgres" | "postgresql" => url.to_owned(),
        // SQLAlchemy's spelling, with its driver's name for the TLS mode: unread, `ssl=require` would be no TLS at all.
        "postgresql+asyncpg" => {
            format!("postgresql://{}", with_sslmode(rest))
        }
        other => return Err(unknown(other)),
    };
    let options = PgConnectOptions::from_str(&url).map_err(SchemaError::Url)?;
    // We read no floats, and PgBouncer refuses the parameter unless it is told to ignore it.
    let options = options.extra_float_digits(None);
    Ok(match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("auth-tower"),
    })
}

/// Whether nobody on the network can read along or pass for the server of a URL: it runs on this machine, or TLS verifies its certificate
/// (`sslmode=verify-full` or `verify-ca`).
///
/// # Errors
/// [`SchemaError::Url`] when it is none of a Postgres database.
pub fn is_private(url: &str) -> Result<bool, SchemaError> {
    let options = parse(url)?;
    let host = options.get_host();
    let is_here = options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    let is_verified = matches!(
        options.get_ssl_mode(),
        PgSslMode::VerifyCa | PgSslMode::VerifyFull
    );
    Ok(is_here || is_verified)
}

fn with_sslmode(rest: &str) -> String {
    let Some((address, query)) = rest.split_once('?') else {
        return rest.to_owned();
    };
    let parameters: Vec<_> = query
        .split('&')
        .map(|parameter| match parameter.strip_prefix("ssl=") {
            Some("true") => "sslmode=require".to_owned(),
            Some("false") => "sslmode=disable".to_owned(),
            Some(mode) => format!("sslmode={mode}"),
            None => parameter.to_owned(),
        })
        .collect();
    format!("{address}?{}", parameters.join("&"))
}

/// Without "://" the scheme may be anything, a password too: no more of it than a scheme can be.
fn unknown(scheme: &str) -> SchemaError {
    let is_a_scheme = scheme.len() <= 20
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let scheme = if is_a_scheme { scheme } else { "unknown" };
    SchemaError::Url(sqlx::Error::Configuration(
        format!("the scheme {scheme:?} is none of postgres, postgresql, postgresql+asyncpg").into(),
    ))
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use sqlx::postgres::PgSslMode;

    use super::parse;

    #[test]
    fn only_this_machine_and_verified_tls_are_private() {
        for url in [
            "postgres://db.internal/app?sslmode=verify-full",
            "postgresql+asyncpg://db.internal/app?ssl=verify-ca",
            "postgres://127.0.0.1/app",
            "postgres://[::1]/app",
            "postgres://localhost/app?sslmode=disable",
        ] {
            assert!(super::is_private(url).unwrap(), "{url}");
        }
        for url in [
            "postgres://db.internal/app",
            "postgres://db.internal/app?sslmode=require",
            "postgresql+asyncpg://10.0.0.1/app?ssl=true",
        ] {
            assert!(!super::is_private(url).unwrap(), "{url}");
        }
    }

    #[test]
    fn every_usual_spelling_names_the_same_database() {
        for scheme in ["postgres", "postgresql", "postgresql+asyncpg"] {
            let options =
                parse(&format!("{scheme}://app:s%40cret@db.example:6543/accounts")).unwrap();
            assert_eq!(options.get_host(), "db.example");
            assert_eq!(options.get_port(), 6543);
            assert_eq!(options.get_username(), "app");
            assert_eq!(options.get_database(), Some("accounts"));
            assert_eq!(options.get_application_name(), Some("auth-tower"));
        }
        let named = parse("postgres://db.example/accounts?application_name=shop").unwrap();
        assert_eq!(named.get_application_name(), Some("shop"));
    }

    #[test]
    fn the_mode_of_tls_comes_from_the_url() {
        for (url, wanted) in [
            ("postgres://h/d?sslmode=disable", PgSslMode::Disable),
            ("postgres://h/d?sslmode=require", PgSslMode::Require),
            ("postgres://h/d?sslmode=verify-ca", PgSslMode::VerifyCa),
            ("postgres://h/d?sslmode=verify-full", PgSslMode::VerifyFull),
            (
                "postgresql+asyncpg://h/d?ssl=verify-full",
                PgSslMode::VerifyFull,
            ),
            (
                "postgresql+asyncpg://h/d?a_b=1&ssl=true",
                PgSslMode::Require,
            ),
        ] {
            let mode = parse(url).unwrap().get_ssl_mode();
            assert_eq!(format!("{mode:?}"), format!("{wanted:?}"), "{url}");
        }
    }

    #[test]
    fn other_databases_are_refused_without_a_word_of_the_password() {
        for url in [
            "mysql://app:hunter2@h/d",
            "hunter2",
            "hunter2:hunter2@h/d",
            "postgres:hunter2@h/d",
            "postgres://app:hunter2@h:port/d",
            "postgresql+asyncpg://app:hunter2@h/d?ssl=perhaps",
            "",
        ] {
            let error = parse(url).unwrap_err();
            let mut words = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                words.push_str(&cause.to_string());
                source = cause.source();
            }
            assert!(!words.contains("hunter2@"), "{words}");
        }
    }
}
