//! What may use what, in `src`: the table of `docs/architecture.md`, held. A room is a folder with the file of its name.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Expr, ExprMethodCall, ImplItemFn, Item, ItemImpl, ItemMod, ItemUse, Macro, UseTree, Visibility,
    visit::{self, Visit},
};

/// Rooms without I/O, clock and randomness, and what they may not name. clippy.toml has the single functions.
const PURE: [&str; 6] = ["model", "plan::agent", "plan::controller", "plan::ensemble", "plan::relation", "tree"];
const IMPURE: [&str; 20] = [
    "libc",
    "reqwest",
    "rustix",
    "std::env",
    "std::fs",
    "std::io::stderr",
    "std::io::stdin",
    "std::io::stdout",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::SystemTime",
    "tokio",
    "tracing",
    "zbus",
    "zookeeper_client",
];

/// A path by its segments: a module's below `crate`, or one that begins with another crate.
type Names = Vec<String>;

fn names(text: &str) -> Names {
    text.split("::").map(str::to_owned).collect()
}

/// The modules that a build has, by their paths below `crate`; what only tests have is left out.
struct Crate {
    modules: BTreeMap<Names, Module>,
}

#[derive(Default)]
struct Module {
    /// What it names: paths as they are written.
    named: Vec<Names>,
    /// The names that it imports, and what they stand for, as written.
    imports: BTreeMap<String, Names>,
    /// Those of them that others may name.
    exports: BTreeSet<String>,
    /// The type whose methods are read at present.
    implements: Option<String>,
    /// Type and name of each method that it has.
    methods: BTreeSet<(String, String)>,
    /// Type and name of each method that one of the same type calls.
    calls: BTreeSet<(String, String)>,
}

impl Crate {
    fn read() -> Self {
        let mut it = Self { modules: BTreeMap::new() };
        it.read_module(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], "lib");
        it
    }

    fn read_module(&mut self, folder: &Path, path: &[String], file: &str) {
        let source = syn::parse_file(&fs::read_to_string(folder.join(format!("{file}.rs"))).unwrap()).unwrap();
        let below = if path.is_empty() { folder.to_owned() } else { folder.join(file) };
        for item in &source.items {
            if let Item::Mod(ItemMod { ident, content: None, attrs, .. }) = item
                && !is_for_tests(attrs)
            {
                let name = ident.to_string();
                self.read_module(&below, &[path, std::slice::from_ref(&name)].concat(), &name);
            }
        }
        self.modules.insert(path.to_vec(), Module::of(&source));
    }

    /// What a path that is written in a module stands for: segments below `crate`, or `None` of what is not of this crate.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Names> {
        let (first, rest) = path.split_first()?;
        let child = [module, std::slice::from_ref(first)].concat();
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([module, rest].concat()),
            "super" => {
                let up = path.iter().take_while(|it| *it == "super").count();
                Some([&module[..module.len().checked_sub(up)?], &path[up..]].concat())
            }
            _ if self.modules.contains_key(&child) => Some([&child, rest].concat()),
            _ => {
                let import = self.modules[module].imports.get(first).filter(|import| import.first() != Some(first))?;
                self.absolute(module, &[import, rest].concat())
            }
        }
    }

    /// The module that a path leads to, through whatever it is exported again by.
    fn target(&self, path: &[String]) -> Names {
        let end = (0..=path.len()).rev().find(|end| self.modules.contains_key(&path[..*end])).unwrap_or(0);
        let (module, rest) = path.split_at(end);
        let exported = rest.first().filter(|name| self.modules[module].exports.contains(*name));
        let import = exported.and_then(|name| self.absolute(module, &self.modules[module].imports[name]));
        import.filter(|it| it != path).map_or_else(|| module.to_vec(), |it| self.target(&it))
    }

    /// Each module, with those whose items it names.
    fn arrows(&self) -> BTreeMap<Names, BTreeSet<Names>> {
        let targets = |(path, module): (&Names, &Module)| {
            let named = module.named.iter().filter_map(|named| Some(self.target(&self.absolute(path, named)?)));
            (path.clone(), named.filter(|target| target != path).collect())
        };
        self.modules.iter().map(targets).collect()
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    let is_test = |it: &Attribute| it.parse_args::<syn::Path>().is_ok_and(|it| it.is_ident("test"));
    attributes.iter().any(|it| it.path().is_ident("cfg") && is_test(it))
}

impl Module {
    fn of(source: &syn::File) -> Self {
        let mut it = Self::default();
        it.visit_file(source);
        it
    }

    fn import(&mut self, before: &[String], tree: &UseTree, exported: bool) {
        let with = |name: String| [before, &[name]].concat();
        let (path, name) = match tree {
            UseTree::Path(path) => return self.import(&with(path.ident.to_string()), &path.tree, exported),
            UseTree::Group(group) => return group.items.iter().for_each(|item| self.import(before, item, exported)),
            UseTree::Glob(_) => return self.named.push(before.to_vec()),
            UseTree::Name(name) if name.ident == "self" => {
                (before.to_vec(), before.last().cloned().unwrap_or_default())
            }
            UseTree::Name(name) => (with(name.ident.to_string()), name.ident.to_string()),
            UseTree::Rename(name) => (with(name.ident.to_string()), name.rename.to_string()),
        };
        self.named.push(path.clone());
        self.imports.insert(name.clone(), path);
        self.exports.extend(exported.then_some(name));
    }

    fn call(&mut self, method: &syn::Ident) {
        self.calls.extend(self.implements.clone().map(|it| (it, method.to_string())));
    }

    /// Paths in a macro's arguments, which are not parsed.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = Vec::new();
        let mut joined = false;
        for token in tokens {
            match token {
                TokenTree::Ident(name) if joined || path.is_empty() => path.push(name.to_string()),
                TokenTree::Ident(name) => self.named.push(std::mem::replace(&mut path, vec![name.to_string()])),
                TokenTree::Punct(mark) if mark.as_char() == ':' && !path.is_empty() => {
                    joined = true;
                    continue;
                }
                TokenTree::Group(group) => {
                    self.named.push(std::mem::take(&mut path));
                    self.tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => self.named.push(std::mem::take(&mut path)),
            }
            joined = false;
        }
        self.named.push(path);
    }
}

impl<'f> Visit<'f> for Module {
    fn visit_item(&mut self, item: &'f Item) {
        let attributes = match item {
            Item::Const(it) => &it.attrs,
            Item::Fn(it) => &it.attrs,
            Item::Impl(it) => &it.attrs,
            Item::Mod(it) => &it.attrs,
            Item::Use(it) => &it.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'f ItemImpl) {
        if let syn::Type::Path(path) = &*item.self_ty {
            self.implements = path.path.segments.last().map(|it| it.ident.to_string());
        }
        visit::visit_item_impl(self, item);
        self.implements = None;
    }

    fn visit_impl_item_fn(&mut self, item: &'f ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            self.methods.extend(self.implements.clone().map(|it| (it, item.sig.ident.to_string())));
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'f ExprMethodCall) {
        if matches!(&*call.receiver, Expr::Path(it) if it.path.is_ident("self")) {
            self.call(&call.method);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_item_use(&mut self, item: &'f ItemUse) {
        self.import(&[], &item.tree, !matches!(item.vis, Visibility::Inherited));
    }

    fn visit_path(&mut self, path: &'f syn::Path) {
        self.named.push(path.segments.iter().map(|it| it.ident.to_string()).collect());
        if let (Some(first), Some(method)) = (path.segments.first(), path.segments.get(1))
            && first.ident == "Self"
        {
            self.call(&method.ident);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, it: &'f Macro) {
        self.visit_path(&it.path);
        self.tokens(it.tokens.clone());
    }

    fn visit_attribute(&mut self, it: &'f Attribute) {
        if let syn::Meta::List(list) = &it.meta {
            self.tokens(list.tokens.clone());
        }
    }
}

/// The table: each room, and the rooms that it may use.
fn table() -> BTreeMap<Names, BTreeSet<Names>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("\n## What may use what\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let quoted = |cell: &str| -> Vec<Names> { cell.split('`').skip(1).step_by(2).map(names).collect() };
    let line = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((names(cells.next()?.trim_end_matches('`')), quoted(cells.next()?).into_iter().collect()))
    };
    section.lines().filter_map(line).collect()
}

/// The room of a module: the longest of the table that it lies in.
fn room(module: &[String], rooms: &BTreeMap<Names, BTreeSet<Names>>) -> Option<Names> {
    (1..=module.len()).rev().map(|end| module[..end].to_vec()).find(|it| rooms.contains_key(it))
}

/// Who can be reached from each, itself included if there is a way back.
fn reached(arrows: &BTreeMap<Names, BTreeSet<Names>>) -> BTreeMap<Names, BTreeSet<Names>> {
    let from = |start: &Names| {
        let (mut found, mut open) = (BTreeSet::new(), vec![start.clone()]);
        while let Some(node) = open.pop() {
            open.extend(arrows.get(&node).into_iter().flatten().filter(|next| found.insert((*next).clone())).cloned());
        }
        found
    };
    arrows.keys().map(|start| (start.clone(), from(start))).collect()
}

#[test]
fn rooms_use_what_the_table_says() {
    let (source, rooms) = (Crate::read(), table());
    let mut found = BTreeSet::new();
    for (module, targets) in source.arrows() {
        let Some(from) = room(&module, &rooms) else {
            assert!(module.is_empty() || module == ["plan"], "{} has no line in the table", module.join("::"));
            continue;
        };
        let to = targets.iter().filter_map(|target| room(target, &rooms)).filter(|to| *to != from);
        found.extend(to.map(|to| format!("{} -> {}", from.join("::"), to.join("::"))));
    }
    let arrows = rooms.iter().flat_map(|(from, to)| to.iter().map(move |to| (from, to)));
    let allowed: BTreeSet<String> =
        arrows.map(|(from, to)| format!("{} -> {}", from.join("::"), to.join("::"))).collect();
    let forbidden: Vec<_> = found.difference(&allowed).collect();
    assert!(forbidden.is_empty(), "the table of docs/architecture.md, What may use what, has no {forbidden:#?}");
    let unused: Vec<_> = allowed.difference(&found).collect();
    assert!(unused.is_empty(), "used no more, take it out of docs/architecture.md: {unused:#?}");
}

#[test]
fn rooms_are_in_no_circle() {
    let circles = reached(&table()).into_iter().filter(|(room, to)| to.contains(room)).map(|(room, _)| room.join("::"));
    assert_eq!(circles.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn what_decides_names_nothing_that_acts_or_asks() {
    let (source, rooms) = (Crate::read(), table());
    let mut found = Vec::new();
    for (room, uses) in &rooms {
        let is_pure = |room: &Names| PURE.contains(&room.join("::").as_str());
        let impure = uses.iter().filter(|used| is_pure(room) && !is_pure(used));
        found.extend(impure.map(|used| format!("{} uses {}", room.join("::"), used.join("::"))));
    }
    for (path, module) in &source.modules {
        if room(path, &rooms).is_none_or(|room| !PURE.contains(&room.join("::").as_str())) {
            continue;
        }
        for named in &module.named {
            let import = named.first().and_then(|first| module.imports.get(first));
            let named = import.map_or_else(|| named.clone(), |import| [import, &named[1..]].concat()).join("::");
            let is = |impure: &&str| {
                named.strip_prefix(*impure).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
            };
            found.extend(IMPURE.iter().copied().find(is).map(|_| format!("{}: {named}", path.join("::"))));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// A file may name what the folder around it declares itself, and what it re-exports counts as its origin's.
#[test]
fn no_more_than_two_files_use_each_other() {
    let mut arrows = Crate::read().arrows();
    for (module, targets) in &mut arrows {
        targets.retain(|target| !module.starts_with(target));
    }
    let reached = reached(&arrows);
    let circle = |module: &Names| -> BTreeSet<String> {
        reached[module].iter().filter(|other| reached[*other].contains(module)).map(|it| it.join("::")).collect()
    };
    let found: BTreeSet<_> = reached.keys().map(circle).filter(|circle| circle.len() > 2).collect();
    assert_eq!(found, BTreeSet::new());
}

/// Files that add methods to one type can use each other without any import: a call through `self` shows nowhere else.
#[test]
fn methods_of_one_type_call_each_other_in_no_circle_of_files() {
    let source = Crate::read();
    let planner = names("plan::controller");
    let modules = || source.modules.iter().filter(|(path, _)| path.starts_with(&planner));
    let has = |(kind, method): &(String, String)| {
        let found = modules().filter(|(_, module)| module.methods.contains(&(kind.clone(), method.clone())));
        found.map(|(path, _)| [path.as_slice(), std::slice::from_ref(kind)].concat()).collect::<Vec<_>>()
    };
    let mut arrows: BTreeMap<Names, BTreeSet<Names>> = BTreeMap::new();
    for (path, module) in modules() {
        for call in &module.calls {
            let from = [path.as_slice(), std::slice::from_ref(&call.0)].concat();
            let to = has(call).into_iter().filter(|to| *to != from).collect::<Vec<_>>();
            arrows.entry(from).or_default().extend(to);
        }
    }
    let circles = reached(&arrows).into_iter().filter(|(from, to)| to.contains(from)).map(|(from, _)| from.join("::"));
    assert_eq!(circles.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn an_arrow_is_found_as_it_is_written() {
    let mut source = Crate { modules: BTreeMap::new() };
    let parse = |text: &str| Module::of(&syn::parse_file(text).unwrap());
    for (path, text) in [
        ("store", "pub use client::Client; pub fn own() {}"),
        ("store::client", "pub struct Client;"),
        ("model", "pub struct Span;"),
        ("plan", ""),
    ] {
        source.modules.insert(names(path), parse(text));
    }
    for (text, found) in [
        ("use crate::store::Client;", Some("store::client")),
        ("use crate::{model::Span, store::{self}};", Some("store")),
        ("use crate::store as other; fn f() { other::client::Client; }", Some("store::client")),
        ("use super::super::store::Client;", Some("store::client")),
        ("fn f(client: &crate::store::Client) {}", Some("store::client")),
        ("fn f() { println!(\"{}\", crate::store::own()) }", Some("store")),
        ("fn f() { either!(crate::model::Span if super::super::store::own()) }", Some("store")),
        ("impl crate::store::Reads for X {}", Some("store")),
        ("#[serde(with = x)] #[value(parser = crate::store::own)] struct X;", Some("store")),
        ("#[cfg(test)] mod tests { use crate::store::Client; }", None),
        ("#[cfg(test)] use crate::store::Client;", None),
        ("impl X { #[cfg(test)] fn f() { crate::store::own() } }", None),
        ("use other::store::Client;", None),
    ] {
        source.modules.insert(names("plan::agent"), parse(text));
        let targets = &source.arrows()[&names("plan::agent")];
        let stores: Vec<_> = targets.iter().map(|it| it.join("::")).filter(|it| it.starts_with("store")).collect();
        assert_eq!(stores.last().map(String::as_str), found, "{text}");
    }
}
