use super::*;

#[test]
fn how_a_process_ended_tells_whether_to_try_again() {
    for (status, complaint, rejected, says) in [
        (6, "memory allocation of 1073741824 bytes failed", true, "a.conf: the template takes more than 64 MiB"),
        (6, "\nthread 'main' has overflowed its stack\nfatal runtime error", true, "nests its values too deeply"),
        (SIGXCPU, "", true, "more than 5 s of a processor's time"),
        (6, "thread 'main' panicked at ops.rs:1:\nattempt to multiply with overflow", true, "multiply with overflow"),
        (9, "", false, "ended early (signal: 9 (SIGKILL)); it said: nothing"),
        (0x100, "zkops: Resource temporarily unavailable", false, "ended early (exit status: 1); it said: zkops:"),
    ] {
        let error = why_ended("a.conf", ExitStatus::from_raw(status), complaint);
        assert!(error.rejected == rejected && error.message.contains(says), "{error:?}");
    }
}
