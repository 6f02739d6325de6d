//! Removes surplus slashes from paths: `/whip/room/` and `//whip//room` become `/whip/room`. Some devices and encoders
//! join a base URL and a path with one slash too many, and show their users only a failure.

use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::middleware::Next;
use axum::response::Response;

/// Forwards a request with its path made plain.
pub(crate) async fn plain(mut request: Request, next: Next) -> Response {
    if let Some(uri) = plain_uri(request.uri()) {
        *request.uri_mut() = uri;
    }
    next.run(request).await
}

/// `None` when the path has no surplus slash. Percent-encoded slashes are no separators and stay.
fn plain_uri(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if !path.contains("//") && (path.len() <= 1 || !path.ends_with('/')) {
        return None;
    }
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    let mut plain =
        segments.fold(String::with_capacity(path.len()), |path, segment| path + "/" + segment);
    if plain.is_empty() {
        plain.push('/');
    }
    if let Some(query) = uri.query() {
        plain = plain + "?" + query;
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(plain).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_too_many_are_left_out_and_nothing_else() {
        let plain = |text: &str| plain_uri(&text.parse().unwrap()).map(|uri| uri.to_string());
        for (written, meant) in [
            ("/whip/room/", "/whip/room"),
            ("//whip//room", "/whip/room"),
            ("/whip/room///?a=//b/", "/whip/room?a=//b/"),
            ("https://x.example//whep/room/", "https://x.example/whep/room"),
            ("//", "/"),
        ] {
            assert_eq!(plain(written).as_deref(), Some(meant), "{written}");
        }
        for written in ["/", "/whip/room", "/whip/room?to=a//b/", "/whip/a%2F%2Fb", "*"] {
            assert_eq!(plain(written), None, "{written}");
        }
    }
}
