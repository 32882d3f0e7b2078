//! No module depends on itself by way of others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::modules::{self, Segments};
use crate::{packages, resolve, root};

/// Edges between the children of one module, each with an example.
type Edges = BTreeMap<String, BTreeMap<String, String>>;

#[test]
fn modules_have_no_import_cycles() {
    let mut found = String::new();
    for package in packages("crates").into_iter().chain(packages("services")) {
        let root_file = package.join("src/lib.rs");
        if !root_file.exists() {
            continue;
        }
        let name = package.strip_prefix(root()).expect("a package of the workspace").display();
        for (parent, cycle) in cycles(&modules::read(&root_file)) {
            let modules: Vec<&str> = cycle.keys().map(String::as_str).collect();
            let place = format!("{name} {}", parent.join("::"));
            writeln!(found, "{}: {}", place.trim_end(), modules.join(", ")).expect("text");
            for (from, targets) in &cycle {
                for (to, example) in targets {
                    writeln!(found, "  {from} -> {to}: {example}").expect("text");
                }
            }
        }
    }
    assert!(found.is_empty(), "these modules depend on each other:\n{found}");
}

/// The cycles between the children of each module. A child stands for everything below it.
fn cycles(modules: &modules::Modules) -> Vec<(Segments, Edges)> {
    let mut graphs: BTreeMap<Segments, Edges> = BTreeMap::new();
    for (from, targets) in resolve::uses(modules) {
        for to in targets {
            let common = from.iter().zip(&to).take_while(|(from, to)| from == to).count();
            let (Some(one), Some(other)) = (from.get(common), to.get(common)) else { continue };
            let edges = graphs.entry(from[..common].to_vec()).or_default();
            let example = format!("{} uses {}", from.join("::"), to.join("::"));
            edges.entry(one.clone()).or_default().entry(other.clone()).or_insert(example);
        }
    }
    let mut found = Vec::new();
    for (parent, edges) in graphs {
        for members in strongly_connected(&edges) {
            let within = |targets: &BTreeMap<String, String>| {
                let targets = targets.iter().filter(|(to, _)| members.contains(*to));
                targets.map(|(to, example)| (to.clone(), example.clone())).collect()
            };
            let cycle = members.iter().map(|from| (from.clone(), within(&edges[from]))).collect();
            found.push((parent.clone(), cycle));
        }
    }
    found
}

/// Sets of two or more modules that reach each other.
fn strongly_connected(edges: &Edges) -> BTreeSet<BTreeSet<String>> {
    let reachable = |from: &String| {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(next) = open.pop() {
            for to in edges.get(next).into_iter().flat_map(BTreeMap::keys) {
                if seen.insert(to.clone()) {
                    open.push(to);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> =
        edges.keys().map(|from| (from, reachable(from))).collect();
    let members = |from: &String| -> BTreeSet<String> {
        let back = |to: &&String| reached.get(*to).is_some_and(|reached| reached.contains(from));
        reached[from].iter().filter(back).cloned().collect()
    };
    edges.keys().map(members).filter(|members| members.len() > 1).collect()
}
