//! Errors of the database.

/// A failure of the database.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database can't be reached, is full or overloaded. Nothing was written, or the
    /// answer was lost. Retrying later may help.
    #[error("the account store is unavailable: {0}")]
    Unavailable(String),
    /// The schema or a stored value is not as expected.
    #[error("the account store is broken: {0}")]
    Broken(String),
}

pub type Result<T> = std::result::Result<T, StoreError>;

/// A failure inside a transaction.
#[derive(Debug)]
pub enum TxError {
    /// A concurrent transaction got in the way. The attempt can be repeated at once.
    Conflict(StoreError),
    Failed(StoreError),
}

pub type TxResult<T> = std::result::Result<T, TxError>;

impl TxError {
    pub(super) fn store_error(&self) -> &StoreError {
        let (Self::Conflict(error) | Self::Failed(error)) = self;
        error
    }
}

impl From<StoreError> for TxError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}
