//! References to variables in values, as in `http://$(AUTH_SERVICE):8005`.

use std::collections::BTreeMap;

/// Replaces each `$(NAME)` by the variable of that name. As in a container of Kubernetes, a
/// reference to a missing variable stays as it is, and values are not resolved again.
pub(crate) fn resolve(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut resolved = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("$(") {
        resolved.push_str(before);
        let variable = after.split_once(')');
        let variable = variable.and_then(|(name, end)| Some((variables.get(name)?, end)));
        if let Some((value, end)) = variable {
            resolved.push_str(value);
            rest = end;
        } else {
            resolved.push_str("$(");
            rest = after;
        }
    }
    resolved + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced() {
        let variables = [("HOST", "auth"), ("PORT", "80"), ("SELF", "$(SELF)$(HOST)")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        for (text, expected) in [
            ("http://$(HOST):$(PORT)/", "http://auth:80/"),
            ("$(HOST)", "auth"),
            ("$(MISSING) $(HOST)", "$(MISSING) auth"),
            ("$($(HOST))", "$(auth)"),
            ("$(SELF)", "$(SELF)$(HOST)"),
            ("$HOST ${HOST} $( $(", "$HOST ${HOST} $( $("),
            ("", ""),
        ] {
            assert_eq!(resolve(text, &variables), expected, "{text}");
        }
    }
}
