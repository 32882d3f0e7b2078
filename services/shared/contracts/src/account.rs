//! Accounts, sessions and tokens as clients see them.
