//! How the binary is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // An agent's memory is mostly its own file, and the list of places that the loader adjusts at the start is 280 KiB of
    // it; packed it is 7. Needs glibc 2.36, as in Debian 12.
    let is = |key: &str, value: &str| std::env::var(key).is_ok_and(|it| it == value);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") && is("CARGO_CFG_TARGET_ARCH", "x86_64")
    {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
