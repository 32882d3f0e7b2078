//! The modules of a crate, as its source files declare them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, Macro, UseTree};

/// The segments of a path.
pub type Segments = Vec<String>;

/// A module that is not compiled for tests only.
#[derive(Debug, Default)]
pub struct Module {
    /// Names of its items, except modules and imports.
    pub items: Vec<String>,
    /// Imports by the name that they bind.
    pub imports: BTreeMap<String, Import>,
    /// Modules whose names it imports with `*`.
    pub globs: Vec<Segments>,
    /// Paths in its code.
    pub paths: Vec<Segments>,
}

#[derive(Debug)]
pub struct Import {
    pub target: Segments,
    /// A re-export belongs to the interface of a module, not to its code.
    pub is_public: bool,
}

/// Modules by their path below the crate: `[]` is the root.
pub type Modules = BTreeMap<Segments, Module>;

/// Reads the modules below the root file of a crate.
pub fn read(root: &Path) -> Modules {
    let mut modules = Modules::new();
    let folder = root.parent().expect("a folder");
    read_file(root, folder, &[], &mut modules);
    modules
}

fn read_file(file: &Path, folder: &Path, path: &[String], modules: &mut Modules) {
    let code =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let syntax =
        syn::parse_file(&code).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    read_items(&syntax.items, folder, path, modules);
}

fn read_items(items: &[Item], folder: &Path, path: &[String], modules: &mut Modules) {
    let mut module = Module::default();
    for item in items {
        match item {
            Item::Mod(child) => {
                if !is_test(&child.attrs) {
                    read_module(child, folder, path, modules);
                }
            }
            Item::Use(import) => {
                let is_public = !matches!(import.vis, syn::Visibility::Inherited);
                add_imports(&import.tree, &mut Vec::new(), is_public, &mut module);
            }
            item => {
                module.items.extend(name_of(item));
                let mut paths = Paths(&mut module.paths);
                if !is_test(attributes_of(item)) {
                    paths.visit_item(item);
                }
            }
        }
    }
    modules.insert(path.to_vec(), module);
}

fn read_module(child: &ItemMod, folder: &Path, path: &[String], modules: &mut Modules) {
    let name = child.ident.to_string();
    let path = [path, std::slice::from_ref(&name)].concat();
    let folder_of_child = folder.join(&name);
    if let Some((_, items)) = &child.content {
        return read_items(items, &folder_of_child, &path, modules);
    }
    let candidates = [folder.join(format!("{name}.rs")), folder_of_child.join("mod.rs")];
    // A module with `#[path]` is generated or shared, and has no imports of this crate.
    if let Some(file) = candidates.iter().find(|file| file.exists()) {
        read_file(file, &folder_of_child, &path, modules);
    }
}

fn add_imports(tree: &UseTree, prefix: &mut Segments, is_public: bool, module: &mut Module) {
    match tree {
        UseTree::Path(part) => {
            prefix.push(part.ident.to_string());
            add_imports(&part.tree, prefix, is_public, module);
            prefix.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                add_imports(tree, prefix, is_public, module);
            }
        }
        UseTree::Glob(_) => module.globs.push(prefix.clone()),
        UseTree::Name(name) if name.ident == "self" => {
            let name = prefix.last().cloned().unwrap_or_default();
            module.imports.insert(name, Import { target: prefix.clone(), is_public });
        }
        UseTree::Name(name) => bind(&name.ident, &name.ident, prefix, is_public, module),
        UseTree::Rename(rename) => bind(&rename.rename, &rename.ident, prefix, is_public, module),
    }
}

fn bind(
    name: &syn::Ident,
    item: &syn::Ident,
    prefix: &Segments,
    is_public: bool,
    module: &mut Module,
) {
    let target = [prefix.as_slice(), &[item.to_string()]].concat();
    // `_` binds no name, but imports all the same.
    let name = if name == "_" { target.join("::") } else { name.to_string() };
    module.imports.insert(name, Import { target, is_public });
}

/// Collects paths, also from the arguments of macros.
struct Paths<'p>(&'p mut Vec<Segments>);

impl<'a> Visit<'a> for Paths<'_> {
    fn visit_path(&mut self, path: &'a syn::Path) {
        self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'a Macro) {
        visit::visit_macro(self, call);
        self.scan(call.tokens.clone());
    }
}

impl Paths<'_> {
    fn scan(&mut self, tokens: TokenStream) {
        let mut path = Segments::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.0.push(std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.0.push(std::mem::take(&mut path));
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.scan(group.stream());
                    }
                }
            }
        }
        self.0.push(path);
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Const(item) => &item.attrs,
        _ => &[],
    }
}

fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}
