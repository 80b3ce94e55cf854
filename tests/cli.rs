//! What the command says without a ZooKeeper: help, mistakes and exit codes, as golden texts in `tests/cmd`.
//!
//! `TRYCMD=overwrite cargo test --test cli` writes them again.

#[test]
fn says_what_the_golden_texts_say() {
    trycmd::TestCases::new().env("ZKOPS_ZOOKEEPER", "127.0.0.1:1").env("NO_COLOR", "1").case("tests/cmd/*.trycmd");
}
