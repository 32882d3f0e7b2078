//! Generates a client of each service from its document in version 3.0.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use progenitor_impl::{GenerationSettings, Generator};

fn main() -> Result<(), Box<dyn Error>> {
    let documents = PathBuf::from(env::var("OPENAPI_DOCUMENTS")?);
    println!("cargo::rerun-if-env-changed=OPENAPI_DOCUMENTS");
    for service in ["auth", "api"] {
        let path = documents.join(format!("{service}.json"));
        println!("cargo::rerun-if-changed={}", path.display());
        let document = serde_json::from_slice(&fs::read(path)?)?;
        let tokens = Generator::new(&GenerationSettings::default()).generate_tokens(&document)?;
        let code = prettyplease::unparse(&syn::parse2(tokens)?);
        fs::write(PathBuf::from(env::var("OUT_DIR")?).join(format!("{service}.rs")), code)?;
    }
    Ok(())
}
