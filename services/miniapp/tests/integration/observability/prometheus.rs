//! A Prometheus that scrapes a platform.

use std::fs;
use std::net::SocketAddr;

use miniapp_test_support::eventually;
use miniapp_test_support::http::{Answer, client};
use miniapp_test_support::ports;
use serde_json::Value;
use tempfile::TempDir;
use url::Url;

use crate::observability::programs::{self, Running, folder};

/// The targets of the jobs in the configuration.
const PLACES: [(&str, &str); 3] =
    [("auth", "127.0.0.1:9005"), ("api", "127.0.0.1:9000"), ("worker", "127.0.0.1:9001")];

/// A Prometheus with the configuration of the folder.
pub struct Prometheus {
    port: u16,
    _running: Running,
    _files: TempDir,
}

impl Prometheus {
    /// Starts Prometheus, scraping these targets every second.
    pub async fn scraping(targets: &[(&str, Vec<SocketAddr>)]) -> Self {
        let program = programs::prometheus("prometheus");
        let files = tempfile::tempdir().expect("a directory");
        for name in ["rules.yml", "alerts.yml"] {
            let to = files.path().join(name);
            fs::copy(folder().join("prometheus").join(name), to).expect("copied");
        }
        let from = folder().join("prometheus/prometheus.yml");
        let mut configuration = fs::read_to_string(from).expect("a file").replace("15s", "1s");
        configuration = configuration.replace("scrape_timeout: 10s", "scrape_timeout: 1s");
        for (job, place) in PLACES {
            let addresses = targets.iter().filter(|(name, _)| *name == job);
            let addresses = addresses.flat_map(|(_, addresses)| addresses);
            let addresses: Vec<String> = addresses.map(|at| format!("\"{at}\"")).collect();
            let place = format!("\"{place}\"");
            assert!(configuration.contains(&place), "{place} for {job}");
            configuration = configuration.replace(&place, &addresses.join(", "));
        }
        let file = files.path().join("prometheus.yml");
        fs::write(&file, configuration).expect("written");
        let port = ports::free();
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", files.path().join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--enable-feature=exemplar-storage".to_owned(),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let running = program.start(&arguments, &[], &files.path().join("log"));
        let prometheus = Self { port, _running: running, _files: files };
        eventually("Prometheus is ready", async || prometheus.try_ask("targets", &[]).await).await;
        prometheus
    }

    /// The `data` of a response of its API.
    pub async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        self.try_ask(path, parameters).await.unwrap_or_else(|| panic!("{path} {parameters:?}"))
    }

    /// The current samples of a query, without those that are not finite.
    pub async fn query(&self, query: &str) -> Vec<f64> {
        let data = self.ask("query", &[("query", query)]).await;
        let samples = data["result"].as_array().expect("a vector").iter();
        let numbers = samples.filter_map(|sample| sample["value"][1].as_str()?.parse().ok());
        numbers.filter(|number: &f64| number.is_finite()).collect()
    }

    async fn try_ask(&self, path: &str, parameters: &[(&str, &str)]) -> Option<Value> {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let url = Url::parse_with_params(&url, parameters).expect("a URL");
        let answer = Answer::try_to(client().get(url)).await.ok()?;
        let mut answer: Value = serde_json::from_slice(&answer.body).ok()?;
        assert_ne!(answer["errorType"], "bad_data", "{parameters:?}: {answer}");
        Some(answer["data"].take()).filter(|data| !data.is_null())
    }
}
