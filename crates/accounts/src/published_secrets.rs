//! Secrets that anyone can read in the repository.

/// A part of every secret in manifests and tests, so that none of them is forgotten here.
const MARKER: &str = "for-development-only";

/// The examples of earlier releases.
const EXAMPLES: [&str; 9] = [
    "at-least-32-characters-of-your-own",
    "a-random-text-of-at-least-32-characters",
    "a secret of at least 32 characters",
    "a secret of this test, long enough for auth",
    "one for all who use this database",
    "the secret that the keys are sealed with",
    "a secret that comes too late for them",
    "the secret of the previous release",
    "0123456789abcdef0123456789abcdef",
];

pub(crate) fn is_published(secret: &str) -> bool {
    // Copies come with quotes and in other spellings.
    let is_around = |c: char| c.is_whitespace() || c == '"' || c == '\'';
    let secret = secret.trim_matches(is_around).to_ascii_lowercase();
    secret.contains(MARKER) || EXAMPLES.contains(&&*secret)
}

#[cfg(test)]
mod tests {
    use miniapp_config::Config;

    use super::*;
    use crate::config::TokenConfig;

    fn load(settings: &[(&str, &str)]) -> Result<TokenConfig, String> {
        let config = Config::defaults_in("/nowhere".as_ref()).expect("the defaults");
        let config = settings.iter().fold(config, |config, (key, value)| config.with(key, value));
        config.section().map_err(|error| error.to_string())
    }

    #[test]
    fn published_secret_is_refused_unless_allowed() {
        let marked = format!("\"{}-and-known-to-everybody\"", MARKER.to_uppercase());
        let indented = format!("\t{}\r", EXAMPLES[0]);
        for published in EXAMPLES.into_iter().chain([&*marked, &*indented]) {
            let refused = load(&[("auth.secret", published)]).expect_err(published);
            for expected in ["auth.secret (MINIAPP__AUTH__SECRET) is published", "openssl rand"] {
                assert!(refused.contains(expected), "{refused}");
            }
            assert!(!refused.contains(published) && refused.lines().count() == 1, "{refused}");
            let allowed = [("auth.secret", published), ("auth.allow_published_secret", "true")];
            load(&allowed).expect("allowed");
            // It can be replaced.
            load(&[("auth.secret_previous", published)]).expect("valid");
        }
        load(&[("auth.secret", "u2Yk0mXW1oQ7sZr3Tn5Vb8Lc4Jd6Hg9F")]).expect("valid");
    }
}
