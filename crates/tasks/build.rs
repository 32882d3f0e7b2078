//! A new migration has this crate compiled again, which cargo wouldn't do by itself: it knows the
//! files that `sqlx::migrate!` has read.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
