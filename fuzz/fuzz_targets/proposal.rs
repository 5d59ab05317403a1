//! Proposals: files that people pass on.
#![no_main]

use bylaw_gov::{Proposal, diff, text};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = text::describe(bytes);
    let _ = text::refusal(bytes);
    if let Ok(proposal) = Proposal::parse(bytes) {
        let _ = proposal.title();
        let _ = proposal.hashes();
        let again = Proposal::parse(&proposal.to_json());
        assert_eq!(again.as_ref(), Ok(&proposal));
        if let (Some(before), Some(after)) = (&proposal.running_compose, &proposal.next_compose) {
            let _ = diff(before, after);
        }
    }
});
