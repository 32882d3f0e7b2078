//! Redirects, which are checked one by one.

use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, COOKIE, HeaderName, LOCATION,
};
use reqwest::{Method, Request, Response, StatusCode, Url};

use super::client::Refusal;

/// Headers that are not sent to another host.
const CREDENTIALS: [HeaderName; 2] = [AUTHORIZATION, COOKIE];
/// Headers that describe a body.
const OF_BODY: [HeaderName; 3] = [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE];

/// Returns the request that `response` redirects `sent` to, or `None` if it is no redirect.
pub(super) fn redirected(sent: Request, response: &Response) -> Result<Option<Request>, Refusal> {
    let location = response.headers().get(LOCATION);
    let location = location.and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    match location.and_then(|location| sent.url().join(location).ok()) {
        Some(url) => follow(sent, response.status(), url),
        None => Ok(None),
    }
}

fn follow(mut request: Request, status: StatusCode, to: Url) -> Result<Option<Request>, Refusal> {
    let drops_body = match status {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => request.method() == Method::POST,
        StatusCode::SEE_OTHER => request.method() != Method::HEAD,
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
        _ => return Ok(None),
    };
    let from = request.url();
    if from.scheme() == "https" && to.scheme() == "http" {
        return Err(Refusal::Downgrade);
    }
    let changes_origin = from.origin() != to.origin();
    if drops_body {
        *request.method_mut() = Method::GET;
        *request.body_mut() = None;
    }
    let mut drop_headers = |names: &[HeaderName]| {
        for name in names {
            request.headers_mut().remove(name);
        }
    };
    if drops_body {
        drop_headers(&OF_BODY);
    }
    if changes_origin {
        drop_headers(&CREDENTIALS);
    }
    *request.url_mut() = to;
    Ok(Some(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, url: &str) -> Request {
        let mut request = Request::new(method, url.parse().expect("a URL"));
        for name in [AUTHORIZATION, COOKIE, CONTENT_TYPE, HeaderName::from_static("x-own")] {
            request.headers_mut().insert(name, "value".parse().expect("a value"));
        }
        *request.body_mut() = Some("body".into());
        request
    }

    fn redirect(method: Method, status: u16, to: &str) -> Result<Option<Request>, Refusal> {
        let status = StatusCode::from_u16(status).expect("a status");
        follow(request(method, "https://a.example/x"), status, to.parse().expect("a URL"))
    }

    #[test]
    fn redirects_to_http_are_refused() {
        for status in [301, 302, 303, 307, 308] {
            for to in ["http://a.example/x", "http://b.example/"] {
                let refused = redirect(Method::GET, status, to);
                assert_eq!(refused.map(drop), Err(Refusal::Downgrade), "{status} {to}");
            }
        }
        let status = StatusCode::FOUND;
        let up =
            follow(request(Method::GET, "http://a/"), status, "https://a/".parse().expect("a"));
        assert!(up.expect("allowed").is_some());
    }

    #[test]
    fn method_and_body_follow_the_status() {
        for (method, status, expected, has_body) in [
            (Method::POST, 301, Method::GET, false),
            (Method::POST, 302, Method::GET, false),
            (Method::PUT, 302, Method::PUT, true),
            (Method::PUT, 303, Method::GET, false),
            (Method::HEAD, 303, Method::HEAD, true),
            (Method::POST, 307, Method::POST, true),
            (Method::POST, 308, Method::POST, true),
        ] {
            let next = redirect(method, status, "https://a.example/y").expect("allowed");
            let next = next.expect("a request");
            assert_eq!((next.method(), next.body().is_some()), (&expected, has_body), "{status}");
            assert_eq!(next.headers().contains_key(CONTENT_TYPE), has_body, "{status}");
            assert_eq!(next.url().path(), "/y");
        }
        for status in [200, 300, 304, 305, 404] {
            let next = redirect(Method::GET, status, "https://a.example/y").expect("allowed");
            assert!(next.is_none(), "{status}");
        }
    }

    #[test]
    fn credentials_stay_with_their_origin() {
        for (to, is_kept) in [
            ("https://a.example/y", true),
            ("https://b.example/", false),
            ("https://a.example:8443/", false),
        ] {
            let next = redirect(Method::GET, 307, to).expect("allowed").expect("a request");
            assert_eq!(next.headers().contains_key(AUTHORIZATION), is_kept, "{to}");
            assert_eq!(next.headers().contains_key(COOKIE), is_kept, "{to}");
            assert!(next.headers().contains_key("x-own"), "{to}");
        }
    }
}
