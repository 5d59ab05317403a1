//! Event logs that are not what was measured.

use super::*;

impl Cases<'_> {
    pub(super) fn events(&mut self) -> anyhow::Result<()> {
        let code = &["event_log"][..];
        type Change = fn(&mut Vec<RuntimeEvent>);
        let changes: [(&str, Change); 8] = [
            ("payload of app-id changed", |events| {
                events[1].payload[0] ^= 1
            }),
            ("payload of compose-hash changed", |events| {
                events[2].payload[31] ^= 1
            }),
            ("name changed", |events| {
                "compose-hasi".clone_into(&mut events[2].event)
            }),
            ("event removed", |events| drop(events.remove(2))),
            ("last event removed", |events| drop(events.pop())),
            ("events swapped", |events| events.swap(1, 2)),
            ("event added", |events| {
                events.push(RuntimeEvent::new("app-id", [0x33; 20], EventVersion::V1));
            }),
            ("no events", Vec::clear),
        ];
        for (name, change) in changes {
            let mut changed = self.usual.clone();
            change(&mut changed.stack.runtime_events);
            let mut answer = get_quote(&changed)?;
            self.bad(name, &changed, code, json!({}));
            // In this form the digests still are those that were measured.
            let mut shown: Vec<TdxEvent> = boot_events(&changed);
            let measured: Vec<_> = self
                .usual
                .stack
                .runtime_events
                .iter()
                .map(RuntimeEvent::digest)
                .collect();
            for (position, event) in changed.stack.runtime_events.iter().enumerate() {
                let mut entry = event.to_tdx_event();
                if let Some(digest) = measured.get(position) {
                    entry.digest = digest.as_bytes().to_vec();
                }
                shown.push(entry);
            }
            answer["event_log"] = json!(event_log::to_get_quote_json(&shown).to_string());
            self.bad_json(
                &format!("GetQuote, digests as measured: {name}"),
                answer,
                code,
                json!({}),
            );
        }
        let colon = self.vm(|vm| vm.before_ready = vec![named("storage-fs:more", [])])?;
        self.bad(
            "colon in the name of a measured event",
            &colon,
            code,
            json!({}),
        );
        let late = self.vm(|vm| vm.after_ready = vec![named("a:b", *b"c")])?;
        self.bad(
            "colon in the name of an app's event",
            &late,
            code,
            json!({}),
        );
        // `app-id` measured as the event `app`, read with a payload that begins after a colon.
        let hidden = self.hidden_in_a_colon()?;
        self.bad(
            "a colon moved between name and payload",
            &hidden,
            code,
            json!({}),
        );
        let many = self.vm(|vm| vm.after_ready = vec![named("", []); MAX_EVENTS - 8])?;
        let count = many.stack.runtime_events.len();
        self.bad(
            &format!("{count} events"),
            &usual_without_log(&many),
            code,
            json!({}),
        );
        for (name, text, codes) in [
            (
                "GetQuote: event log is no JSON",
                "[{",
                &["encoding", "event_log"][..],
            ),
            (
                "GetQuote: event log is no array",
                "{}",
                &["encoding", "event_log"],
            ),
            (
                "GetQuote: event log is empty text",
                "",
                &["event_log", "encoding"],
            ),
            ("GetQuote: event log has no events", "[]", &["event_log"]),
        ] {
            let mut answer = get_quote(&self.usual)?;
            answer["event_log"] = json!(text);
            self.bad_json(name, answer, codes, json!({}));
        }
        let mut answer = get_quote(&self.usual)?;
        answer["quote"] = json!("");
        self.bad_json(
            "GetQuote: no quote",
            answer,
            &["encoding", "quote"],
            json!({}),
        );
        let mut answer = get_quote(&self.usual)?;
        answer["quote"] = json!("zz");
        self.bad_json(
            "GetQuote: quote is no hex",
            answer,
            &["encoding"],
            json!({}),
        );
        Ok(())
    }

    pub(super) fn hidden_in_a_colon(&self) -> anyhow::Result<Attestation> {
        let mut evidence = self.vm(|vm| {
            vm.before_ready = vec![named("user", [b":".as_slice(), &[0x33; 20]].concat())];
        })?;
        for event in &mut evidence.stack.runtime_events {
            if event.event == "user" {
                "user:".clone_into(&mut event.event);
                event.payload.remove(0);
            }
        }
        Ok(evidence)
    }
}

fn boot_events(evidence: &Attestation) -> Vec<TdxEvent> {
    match &evidence.platform {
        Platform::Tdx { event_log, .. } => event_log
            .iter()
            .filter(|event| event.imr != 3)
            .cloned()
            .collect(),
        _ => vec![],
    }
}
