//! curl commands from an empty platform to a finished task, for the console.

use miniapp_accounts::mail::Mail;
use serde_json::json;

use crate::platform::Addresses;

/// An example that satisfies the password rules.
const PASSWORD: &str = "seven quiet lanterns";

/// Returns the command that requests a verification code.
pub fn request_code(at: &Addresses) -> String {
    post(
        &format!("{}/send-verification-code", at.auth_url()),
        None,
        r#"{"email":"ada@example.com"}"#,
    )
}

/// Returns the commands that use a code: registration, sign-in and a first task.
pub fn use_code(at: &Addresses, mail: &Mail, code: &str) -> Vec<String> {
    let (auth, api) = (at.auth_url(), at.api_url());
    let (email, login) = (&mail.to, login(&mail.to));
    let sign_in =
        post(&format!("{auth}/sign-in"), None, &body(&[("login", login), ("password", PASSWORD)]));
    let verify =
        post(&format!("{auth}/verify-email"), None, &body(&[("email", email), ("code", code)]));
    let register = post(
        &format!("{auth}/register"),
        Some("Cookie: registration=$PROOF"),
        &body(&[("email", email), ("login", login), ("password", PASSWORD)]),
    );
    vec![
        // It shows that the client that registers the address has verified it.
        format!("PROOF=$({verify} | {})", extract("registrationToken")),
        register,
        format!("TOKEN=$({sign_in} | {})", extract("authToken")),
        post(
            &format!("{api}/api/tasks"),
            Some("Authorization: Bearer $TOKEN"),
            r#"{"description":"Say it back","kind":"echo","data":{"hello":"world"},"ttl":30}"#,
        ),
        format!(r#"curl -sw '\n' {api}/api/tasks -H "Authorization: Bearer $TOKEN""#),
    ]
}

/// Returns the command that reads a field of a JSON object.
fn extract(field: &str) -> String {
    format!(r#"sed 's/.*"{field}":"\([^"]*\)".*/\1/'"#)
}

/// Formats a JSON object with its fields in the given order.
fn body(fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("\"{name}\":{}", json!(value))).collect();
    format!("{{{}}}", fields.join(","))
}

/// Derives a valid login from an address.
fn login(email: &str) -> &str {
    let name = email.split('@').next().unwrap_or_default();
    let is_valid = name.len() >= 3 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_valid { name } else { "ada" }
}

fn post(url: &str, header: Option<&str>, body: &str) -> String {
    let header = header.map(|header| format!(r#" -H "{header}""#));
    format!(
        r"curl -sw '\n' {url}{} -H 'Content-Type: application/json' -d '{}'",
        header.unwrap_or_default(),
        body.replace('\'', r"'\''"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        let at = |port| ([127, 0, 0, 1], port).into();
        Addresses { api: at(8000), auth: at(8005), admin: at(9000) }
    }

    #[test]
    fn commands_are_quoted_for_a_shell() {
        let mail = Mail {
            id: uuid::Uuid::nil(),
            to: "o'neil@example.com".to_owned(),
            subject: String::new(),
            text: String::new(),
            html: String::new(),
        };
        let lines = use_code(&addresses(), &mail, "123456");
        assert_eq!(
            lines[0],
            r#"PROOF=$(curl -sw '\n' http://127.0.0.1:8005/verify-email -H 'Content-Type: application/json' -d '{"email":"o'\''neil@example.com","code":"123456"}' | sed 's/.*"registrationToken":"\([^"]*\)".*/\1/')"#
        );
        assert!(lines[1].contains(r#""login":"ada""#), "{}", lines[1]);
        assert!(lines[1].contains(r#" -H "Cookie: registration=$PROOF" "#), "{}", lines[1]);
        assert!(lines[2].starts_with("TOKEN=$(curl -s"), "{}", lines[2]);
    }

    #[test]
    fn login_is_derived_from_the_address() {
        for (email, expected) in
            [("grace@x.org", "grace"), ("ab@x.org", "ada"), ("a.b@x.org", "ada"), ("", "ada")]
        {
            assert_eq!(login(email), expected);
        }
    }
}
