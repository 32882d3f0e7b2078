//! Which module defines what a path names.

use std::collections::{BTreeMap, BTreeSet};

use crate::modules::{Modules, Segments};

/// How many imports are followed: more are a loop of re-exports with `*`.
const MAX_DEPTH: u32 = 16;

/// For each module, the modules that its code uses.
pub type Uses = BTreeMap<Segments, BTreeSet<Segments>>;

pub fn uses(modules: &Modules) -> Uses {
    let mut uses = Uses::new();
    for (path, module) in modules {
        let imports = module.imports.values().filter(|import| !import.is_public);
        let targets = imports.map(|import| &import.target).chain(&module.paths);
        let targets = targets.filter_map(|target| resolve(modules, path, target, 0));
        uses.insert(path.clone(), targets.collect());
    }
    uses
}

/// Resolves `target` in the scope of the module `from` to the module that defines it. Returns
/// nothing for paths into other crates and for names that no module declares, such as locals.
fn resolve(modules: &Modules, from: &[String], target: &[String], depth: u32) -> Option<Segments> {
    let (first, rest) = target.split_first()?;
    match first.as_str() {
        "crate" => find(modules, Vec::new(), rest, depth),
        "self" => find(modules, from.to_vec(), rest, depth),
        "super" => {
            let parent = from[..from.len().checked_sub(1)?].to_vec();
            match rest.first() {
                Some(next) if next == "super" => resolve(modules, &parent, rest, depth),
                _ => find(modules, parent, rest, depth),
            }
        }
        _ => find(modules, from.to_vec(), target, depth),
    }
}

/// Finds the module that defines `names` as seen from inside of the module `at`.
fn find(modules: &Modules, at: Segments, names: &[String], depth: u32) -> Option<Segments> {
    if depth > MAX_DEPTH {
        return None;
    }
    let Some((name, rest)) = names.split_first() else { return Some(at) };
    let module = modules.get(&at)?;
    let child = [at.as_slice(), std::slice::from_ref(name)].concat();
    if modules.contains_key(&child) {
        return find(modules, child, rest, depth);
    }
    if module.items.contains(name) {
        return Some(at);
    }
    if let Some(import) = module.imports.get(name) {
        // The import of a crate by its own name would find itself.
        let is_itself = import.target.first() == Some(name);
        let target = [import.target.as_slice(), rest].concat();
        return if is_itself { None } else { resolve(modules, &at, &target, depth + 1) };
    }
    let mut globs = module.globs.iter();
    globs.find_map(|glob| resolve(modules, &at, &[glob.as_slice(), names].concat(), depth + 1))
}
