use auth_core::types::UserId;

/// What became of a request, in the extensions of its answer: for a host's log and metrics. All of it is bounded but the user.
///
/// ```
/// # fn log(response: &auth_tower::http::Response<auth_tower::AuthBody>) {
/// if let Some(answered) = response.extensions().get::<auth_tower::Answered>() {
///     println!("{} {}", answered.route.unwrap_or("nowhere"), response.status());
/// }
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answered {
    /// The path as the table declares it, without the host's prefix; `None` where there is no route.
    pub route: Option<&'static str>,
    /// The code of the problem, whether it is told by a document or to the page of a sign-in.
    pub code: Option<&'static str>,
    /// Who asked, as far as the request proved it.
    pub user: Option<UserId>,
}
