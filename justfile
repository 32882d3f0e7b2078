# The commands that people need most; `just --list` shows them. Nothing else depends on just.

# Run the whole platform in one process
run *arguments:
    cargo run -- {{arguments}}

# Show every feature once, on a temporary platform
demo:
    cargo run -- demo

# Run the tests that need no servers, in about a minute
quick:
    ./test quick

# Run all checks and tests; names choose some of them
test *names:
    ./test {{names}}

# Format the code
format:
    cargo fmt --all

# Check formatting, lints, dependencies and licences
lint:
    ./test format lint
    cargo deny --locked check

# Regenerate API descriptions, the generated parts of the documentation, and rendered manifests
update:
    UPDATE_OPENAPI=1 cargo test --package miniapp-api --package miniapp-auth openapi
    sdk/generate
    UPDATE_DOCS=1 ./test readme
    UPDATE_MANIFESTS=1 ./test manifests

# Build the book into target/book and open it
book:
    mdbook build docs --open

# Measure the platform on PostgreSQL and RabbitMQ
bench *arguments:
    ./bench {{arguments}}

# Build the release binaries into dist/
release:
    dev/release
