use super::reader::Reader;
use crate::database::DatabaseUrl;

/// Where the data lies.
pub(crate) struct Database {
    /// Of Postgres, for this process.
    pub(crate) connections: u32,
    pub(crate) url: DatabaseUrl,
}

impl Database {
    pub(super) fn read(reader: &mut Reader, production: bool) -> Self {
        let url = reader.or(
            "DATABASE_URL",
            DatabaseUrl::SqliteFile("auth-service.db".into()),
            str::parse,
        );
        refuse_open_transport(reader, &url, production);
        Self {
            connections: reader.or("DB_MAX_CONNECTIONS", 10, |text| {
                text.parse()
                    .ok()
                    .filter(|n| (1..=1000).contains(n))
                    .ok_or("must be a number from 1 to 1000")
            }),
            url,
        }
    }
}

fn refuse_open_transport(reader: &mut Reader, database: &DatabaseUrl, production: bool) {
    let DatabaseUrl::Postgres(url) = database else {
        return;
    };
    match auth_store_postgres::is_private(url.expose()) {
        Ok(false) if production => reader.fault(
            "DATABASE_URL",
            "must have ?sslmode=verify-full in production, unless the server is on this machine",
        ),
        Ok(_) => {}
        Err(error) => reader.fault("DATABASE_URL", crate::chain(&error)),
    }
}
