use auth_tower::{Input, RouteInfo};

/// A path of a route: each parameter has a value that fits and names nothing that exists.
pub fn path_of(route: &RouteInfo) -> String {
    route
        .path
        .split('/')
        .map(|segment| match segment.strip_prefix('{') {
            None => segment,
            Some(name) if name.contains("email") => "nobody%40example.org",
            Some(_) => "0197f1f0-0000-7000-8000-000000000000",
        })
        .collect::<Vec<_>>()
        .join("/")
}

/// Whether a route reads a JSON document.
///
/// # Panics
/// When a kind of input is new: the tests that ask have to learn it.
pub fn takes_json(route: &RouteInfo) -> bool {
    match route.input {
        Input::Json | Input::JsonOrForm => true,
        Input::None | Input::Query | Input::Raw => false,
        unknown => panic!("these tests do not know what {unknown:?} is"),
    }
}
