use std::collections::HashMap;

use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::reader::Reader;

/// Where spans go. The further names of the standard (`OTEL_TRACES_SAMPLER`, `OTEL_BSP_…`) are read by OpenTelemetry's own code.
#[cfg_attr(not(feature = "otel"), allow(dead_code))] // read, so that it is checked and told
pub(crate) struct Traces {
    /// Without a slash at its end.
    pub(crate) endpoint: String,
    /// Keys, often.
    pub(crate) headers: HashMap<String, String>,
    /// `None`: the name of the service.
    pub(crate) service_name: Option<String>,
}

const NAME: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const TRACES_HEADERS: &str = "OTEL_EXPORTER_OTLP_TRACES_HEADERS";

impl Traces {
    pub(super) fn read(
        reader: &mut Reader,
        production: bool,
        notes: &mut Vec<String>,
    ) -> Option<Self> {
        let endpoint = reader.optional(NAME, endpoint);
        let headers = reader.optional(HEADERS, headers);
        // The exporter would read it behind our back, and send keys in the clear.
        if reader.is_set(TRACES_HEADERS) {
            reader.fault(TRACES_HEADERS, format_args!("is not taken: set {HEADERS}"));
        }
        let service_name = reader.get("OTEL_SERVICE_NAME");
        let (endpoint, is_private) = endpoint?;
        if production && headers.is_some() && !is_private {
            reader.fault(
                NAME,
                "must be https in production where headers are set, unless the collector is on this machine",
            );
        }
        if !cfg!(feature = "otel") {
            let told = "is set, and this program was built without the feature `otel`";
            if production {
                reader.fault(NAME, told);
            } else {
                notes.push(format!("{NAME} {told}"));
            }
            return None;
        }
        Some(Self {
            endpoint,
            headers: headers.unwrap_or_default(),
            service_name,
        })
    }
}

/// With whether nobody reads along on the way.
fn endpoint(text: &str) -> Result<(String, bool), &'static str> {
    const FAULT: &str = "must be http://host:port or https://host, without a query or a password";
    let uri: Uri = text.parse().map_err(|_| FAULT)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(FAULT);
    };
    if !matches!(scheme, "http" | "https") || authority.as_str().contains('@') || text.contains('?')
    {
        return Err(FAULT);
    }
    let is_private =
        scheme == "https" || matches!(authority.host(), "127.0.0.1" | "localhost" | "[::1]");
    Ok((text.trim_end_matches('/').to_owned(), is_private))
}

/// `name=value,name=value`, the values percent-encoded.
fn headers(text: &str) -> Result<HashMap<String, String>, &'static str> {
    text.split(',')
        .map(|entry| {
            let (name, value) = entry.trim().split_once('=')?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            HeaderName::try_from(name.trim()).ok()?;
            HeaderValue::try_from(&*value).ok()?;
            Some((name.trim().to_owned(), value.into_owned()))
        })
        .collect::<Option<_>>()
        .ok_or("must be name=value,name=value with percent-encoded values")
}
