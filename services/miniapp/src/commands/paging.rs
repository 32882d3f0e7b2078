//! [`PageArgs`]: how much of a list a command shows.

use miniapp_client::{Error, PageQuery};

/// The platform's limit.
const PAGE_SIZE: u32 = 200;

#[derive(Debug, clap::Args)]
pub struct PageArgs {
    /// Maximum number of entries
    #[arg(long, short = 'n', default_value_t = 20, value_name = "NUMBER",
        value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Show all entries
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// The newest entries of a list.
pub struct Listed<T> {
    pub entries: Vec<T>,
    /// Where older entries continue, if there are any.
    pub next_cursor: Option<String>,
}

impl PageArgs {
    /// Reads as many pages as necessary. `fetch` returns the entries of a page and its
    /// `nextCursor`.
    pub async fn read<T>(
        &self,
        fetch: impl AsyncFn(PageQuery) -> Result<(Vec<T>, Option<String>), Error>,
    ) -> Result<Listed<T>, Error> {
        let limit = if self.all { usize::MAX } else { self.limit as usize };
        let mut listed = Listed { entries: Vec::new(), next_cursor: None };
        loop {
            let missing = limit - listed.entries.len();
            let size = u32::try_from(missing).map_or(PAGE_SIZE, |missing| missing.min(PAGE_SIZE));
            let query = PageQuery { limit: Some(size), cursor: listed.next_cursor.take() };
            let (entries, next) = fetch(query).await?;
            listed.entries.extend(entries);
            listed.next_cursor = next;
            if listed.next_cursor.is_none() || listed.entries.len() >= limit {
                return Ok(listed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(args: PageArgs, available: u32) -> (usize, Option<String>) {
        let fetch = async |query: PageQuery| {
            let from: u32 = query.cursor.map_or(0, |cursor| cursor.parse().expect("a number"));
            let to = available.min(from + query.limit.expect("a limit"));
            Ok(((from..to).collect(), (to < available).then(|| to.to_string())))
        };
        let listed = args.read(fetch).await.expect("pages");
        (listed.entries.len(), listed.next_cursor)
    }

    #[tokio::test]
    async fn pages_are_read_up_to_the_limit() {
        let limit = |limit| PageArgs { limit, all: false };
        assert_eq!(read(limit(20), 7).await, (7, None));
        assert_eq!(read(limit(7), 7).await, (7, None));
        assert_eq!(read(limit(250), 1000).await, (250, Some("250".to_owned())));
        assert_eq!(read(PageArgs { limit: 20, all: true }, 1000).await, (1000, None));
    }
}
