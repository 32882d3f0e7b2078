//! What can go wrong between the client and the platform, in words that help.

use miniapp_types::problem::{Code, Problem};
use reqwest::Url;

/// Why a call to the platform didn't succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection came about.
    #[error(
        "nothing listens at {0}; start the platform with `miniapp`, or say where it is with --url"
    )]
    Unreachable(Box<Url>),
    /// The name has no address, TLS failed, or the connection broke.
    #[error("can't talk to {url}: {reason}; check --url, or try again")]
    Broken {
        /// Who was asked.
        url: Box<Url>,
        /// The innermost reason.
        reason: String,
    },
    /// No answer within the time that any answer should take.
    #[error("{0} didn't answer in time; try again, or look at its /readyz")]
    TimedOut(Box<Url>),
    /// The platform said no.
    #[error("{}", told(.0, *.1))]
    Refused(Box<Problem>, Option<u64>),
    /// Somebody answered who isn't the platform.
    #[error("{url} answered {status} with something that isn't MiniApp's; check --url")]
    Stranger {
        /// Who was asked.
        url: Box<Url>,
        /// What the answer's status was.
        status: u16,
    },
    /// There are no tokens for this platform.
    #[error("you aren't signed in at {0}; sign in with `miniapp login`")]
    SignedOut(Box<Url>),
    /// The tokens can't be read or kept.
    #[error("can't use the stored session {path}: {source}")]
    Session {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl ClientError {
    /// The problem's code, where the platform said no.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(problem, _) => Some(problem.code),
            _ => None,
        }
    }

    /// Whether the same call may succeed a moment later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Broken { .. } | Self::TimedOut(_) => true,
            Self::Stranger { status, .. } => *status >= 500,
            Self::Refused(problem, _) => problem.status >= 500,
            Self::SignedOut(_) | Self::Session { .. } => false,
        }
    }

    /// Sorts out what the HTTP library met.
    pub fn from_transport(url: &Url, error: &reqwest::Error) -> Self {
        let url = Box::new(origin(url));
        let mut innermost: &dyn std::error::Error = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let refused = innermost
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused);
        if refused {
            Self::Unreachable(url)
        } else if error.is_timeout() {
            Self::TimedOut(url)
        } else {
            Self::Broken { url, reason: innermost.to_string() }
        }
    }
}

/// Scheme, host and port: the part of an address that helps in a message.
fn origin(url: &Url) -> Url {
    let mut origin = url.clone();
    origin.set_path("/");
    origin.set_query(None);
    origin
}

/// A problem in one line, with what to do about it.
fn told(problem: &Problem, retry_after: Option<u64>) -> String {
    let mut line = problem.detail.clone().unwrap_or_else(|| problem.title.clone());
    let mut faults = problem.errors.iter().map(|fault| match fault.field.as_str() {
        "" => fault.message.clone(),
        field => format!("{field} {}", fault.message),
    });
    if let Some(first) = faults.next() {
        let all = faults.fold(first, |all, fault| all + ", " + &fault);
        line = format!("{}: {all}", problem.title);
    }
    let advice = match problem.code {
        Code::TokenMissing
        | Code::TokenInvalid
        | Code::TokenExpired
        | Code::TokenRevoked
        | Code::TokenReused => "sign in again with `miniapp login`".to_owned(),
        Code::CredentialsInvalid => {
            "try again, or make an account with `miniapp register`".to_owned()
        }
        Code::CodeInvalid => "take the one of the newest mail".to_owned(),
        Code::EmailTaken => "sign in with `miniapp login`".to_owned(),
        Code::LoginTaken => "choose another one".to_owned(),
        Code::InvalidFields if problem.errors.iter().any(|fault| fault.field == "kind") => {
            "`miniapp kinds` shows those there are".to_owned()
        }
        Code::EmailNotVerified => "`miniapp register` sends a code and asks for it".to_owned(),
        Code::TaskNotFinished => "cancel it first with `miniapp task cancel`".to_owned(),
        Code::TaskAlreadyFinished => "`miniapp task restart` runs it again".to_owned(),
        Code::TaskNotFound => "`miniapp task list` shows yours".to_owned(),
        Code::Forbidden => "it takes the role admin: `miniapp admin grant LOGIN`".to_owned(),
        Code::TooManyRequests | Code::Unavailable => match retry_after {
            Some(seconds) => format!("try again in {seconds} s"),
            None => "try again a little later".to_owned(),
        },
        Code::Internal => format!("its log and trace {} tell more", problem.trace_id),
        _ => return line,
    };
    format!("{line}; {advice}")
}

#[cfg(test)]
mod tests {
    use miniapp_types::problem::FieldError;

    use super::*;

    fn problem(code: Code) -> Problem {
        Problem {
            kind: format!("urn:miniapp:problem:{code}"),
            title: code.title().to_owned(),
            status: code.status(),
            detail: None,
            code,
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
            errors: Vec::new(),
        }
    }

    #[test]
    fn every_fault_of_a_body_is_in_the_line() {
        let fault = |field: &str, message: &str| FieldError {
            field: field.to_owned(),
            message: message.to_owned(),
        };
        let refused = Problem {
            errors: vec![fault("ttl", "is required"), fault("kind", "is unknown")],
            ..problem(Code::InvalidFields)
        };
        let line = ClientError::Refused(Box::new(refused), None).to_string();
        assert_eq!(
            line,
            "Some fields are not acceptable: ttl is required, kind is unknown; `miniapp kinds` \
             shows those there are"
        );
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let line = |code, retry| ClientError::Refused(Box::new(problem(code)), retry).to_string();
        assert_eq!(line(Code::TooManyRequests, Some(7)), "Too many requests; try again in 7 s");
        assert_eq!(
            line(Code::TokenRevoked, None),
            "The token was revoked or replaced by a newer one; sign in again with `miniapp login`"
        );
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let refused = |code| ClientError::Refused(Box::new(problem(code)), None);
        assert!(refused(Code::Unavailable).is_passing());
        assert!(!refused(Code::TaskNotFound).is_passing());
    }
}
