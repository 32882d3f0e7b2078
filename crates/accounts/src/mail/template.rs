//! The mails of accounts, in text and HTML.

use std::time::Duration;

use miniapp_types::account::Secret;
use uuid::Uuid;

use super::Mail;

/// The content of a mail.
#[derive(Clone, Debug)]
pub enum MailTemplate<'a> {
    /// A code that verifies the address.
    Verification {
        code: &'a Secret,
        expires_in: Duration,
    },
    /// A reply to a registration with an address that has an account.
    AlreadyRegistered,
    /// A code that allows to set a new password.
    Reset {
        code: &'a Secret,
        expires_in: Duration,
    },
    PasswordChanged,
    /// The password was set with a reset code.
    PasswordReset,
    /// A reply to a request for a reset code of a disabled account.
    AccountDisabled,
    /// A refresh token was used twice.
    TokenReused,
    AccountDeleted {
        login: &'a str,
    },
}

/// The parts of a mail, from which text and HTML are rendered alike.
struct Draft {
    subject: &'static str,
    before: String,
    code: Option<String>,
    after: &'static str,
}

impl MailTemplate<'_> {
    pub fn render(&self, id: Uuid, to: &str) -> Mail {
        let Draft { subject, before, code, after } = self.draft();
        let text_code = code.as_ref().map(|code| format!("    {code}\n\n")).unwrap_or_default();
        let html_code = code.as_ref().map(|code| code_block(code)).unwrap_or_default();
        let [html_subject, html_before, html_after] = [subject, &before, after].map(escape_html);
        Mail {
            id,
            to: to.to_owned(),
            subject: subject.to_owned(),
            text: format!("Hello,\n\n{before}\n\n{text_code}{after}\n\nMiniApp\n"),
            html: format!(
                "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
                 <title>{html_subject}</title>\
                 <body style=\"font-family:sans-serif;line-height:1.5\">\
                 <p>Hello,</p><p>{html_before}</p>{html_code}<p>{html_after}</p><p>MiniApp</p></body></html>"
            ),
        }
    }

    fn draft(&self) -> Draft {
        match self {
            Self::Verification { code, expires_in } => Draft {
                subject: "Your MiniApp verification code",
                before: format!(
                    "this code confirms your address for the next {}:",
                    minutes(*expires_in)
                ),
                code: Some(code.expose().to_owned()),
                after: "If you didn't ask for it, nothing happens when you ignore this mail.",
            },
            Self::AlreadyRegistered => Draft {
                subject: "You already have a MiniApp account",
                before: "someone, probably you, asked for a code to register with this address. \
                         It has an account already, so there is no code to send: sign in, or reset \
                         the password if it is lost."
                    .to_owned(),
                code: None,
                after: "If it wasn't you, nothing happens when you ignore this mail.",
            },
            Self::Reset { code, expires_in } => Draft {
                subject: "Your MiniApp code for a new password",
                before: format!(
                    "with this code you can set a new password in the next {}:",
                    minutes(*expires_in)
                ),
                code: Some(code.expose().to_owned()),
                after: "If you didn't ask for it, ignore this mail: your password stays as it is.",
            },
            Self::PasswordChanged => Draft {
                subject: "Your MiniApp password was changed",
                before: "the password of your account was changed, and other sessions have ended."
                    .to_owned(),
                code: None,
                after: "If it wasn't you, reset the password now.",
            },
            Self::PasswordReset => Draft {
                subject: "Your MiniApp password was reset",
                before:
                    "a new password was set with a code that was sent to this address, and all \
                         sessions of your account have ended."
                        .to_owned(),
                code: None,
                after: "If it wasn't you, someone can read your mail: secure your mailbox, then \
                        reset the password.",
            },
            Self::AccountDisabled => Draft {
                subject: "Your MiniApp account is disabled",
                before: "someone, probably you, requested a code to set a new password. An \
                         administrator has disabled your account, so there is no code to send."
                    .to_owned(),
                code: None,
                after: "If it wasn't you, nothing happens when you ignore this mail.",
            },
            Self::TokenReused => Draft {
                subject: "A MiniApp session of yours was ended",
                before: "a token of one of your sessions was used a second time. Someone may have \
                         copied it, so the session was ended. Your other sessions continue."
                    .to_owned(),
                code: None,
                after: "Sign in again where you need to. If it happens again, change your password, \
                        which ends all other sessions.",
            },
            Self::AccountDeleted { login } => Draft {
                subject: "Your MiniApp account was deleted",
                before: format!("the account {login} was deleted, with its sessions and tasks."),
                code: None,
                after: "If it wasn't you, someone had access to your account. It can't be restored.",
            },
        }
    }
}

fn code_block(code: &str) -> String {
    format!(
        "<p style=\"font-size:2em;letter-spacing:.2em\"><strong>{}</strong></p>",
        escape_html(code)
    )
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn minutes(duration: Duration) -> String {
    match duration.as_secs().div_ceil(60) {
        0 | 1 => "minute".to_owned(),
        minutes => format!("{minutes} minutes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(template: &MailTemplate<'_>) -> Mail {
        template.render(Uuid::nil(), "ada@example.com")
    }

    #[test]
    fn code_is_in_both_bodies_only() {
        let code = Secret::new("048213");
        let expires_in = Duration::from_mins(10);
        for template in [
            MailTemplate::Verification { code: &code, expires_in },
            MailTemplate::Reset { code: &code, expires_in },
        ] {
            let mail = mail(&template);
            assert_eq!(mail.code(), Some("048213"));
            assert!(mail.html.contains("048213") && mail.text.contains("10 minutes"));
            assert!(!mail.subject.contains("048213"));
            assert!(!format!("{mail:?}{template:?}").contains("048213"));
        }
    }

    #[test]
    fn html_is_escape_html() {
        assert_eq!(escape_html("<b> & \"c\""), "&lt;b&gt; &amp; &quot;c&quot;");
        let code = Secret::new("<1&2>");
        let template = MailTemplate::Reset { code: &code, expires_in: Duration::from_mins(10) };
        let Mail { text, html, .. } = mail(&template);
        assert!(text.contains("<1&2>") && html.contains(">&lt;1&amp;2&gt;<"), "{html}");
    }

    #[test]
    fn notices_have_no_code() {
        for template in [
            MailTemplate::AlreadyRegistered,
            MailTemplate::PasswordChanged,
            MailTemplate::PasswordReset,
            MailTemplate::AccountDisabled,
            MailTemplate::TokenReused,
            MailTemplate::AccountDeleted { login: "ada" },
        ] {
            assert_eq!(mail(&template).code(), None);
        }
    }
}
