package attest

import (
	"context"
	"crypto/sha512"
	"errors"
	"strings"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
	"github.com/bylaw/bylaw/guest/sdk/go/eventlog"
	"github.com/bylaw/bylaw/guest/sdk/go/internal/dcap"
)

const podTag = "app-data:"

// VerifyQuote verifies an answer of GetQuote.
func (v *Verifier) VerifyQuote(ctx context.Context, answer *bylaw.Quote, expect Expect) (*Appraisal, error) {
	evidence, err := EvidenceFromQuote(answer)
	if err != nil {
		return nil, err
	}
	return v.VerifyEvidence(ctx, evidence, expect)
}

// VerifyAttestation verifies versioned attestation bytes, an answer of Attest.
func (v *Verifier) VerifyAttestation(ctx context.Context, content []byte, expect Expect) (*Appraisal, error) {
	evidence, err := ParseEvidence(content)
	if err != nil {
		return nil, err
	}
	return v.VerifyEvidence(ctx, evidence, expect)
}

// VerifyEvidence verifies that genuine, current hardware measured what the evidence says
// and that this is what the caller expects. Errors are of type [*bylaw.VerifyError] and
// name the rule that failed.
func (v *Verifier) VerifyEvidence(ctx context.Context, evidence *Evidence, expect Expect) (*Appraisal, error) {
	if err := expect.check(); err != nil {
		return nil, err
	}
	quote, err := dcap.Authenticate(evidence.Quote, v.root, v.now())
	if err != nil {
		return nil, verdict(err)
	}
	report := quote.Report()
	if err := evidence.checkReportData(report.ReportData, expect.reportData()); err != nil {
		return nil, err
	}
	if err := evidence.checkEvents(report.RTMR[eventlog.RuntimeRegister]); err != nil {
		return nil, err
	}
	collateral, err := v.collateral.Collateral(ctx, quote.Platform.FMSPC, quote.Platform.CA)
	if err != nil {
		return nil, bylaw.Because(bylaw.RuleCollateral, err, "nobody says whether the platform is current")
	}
	converted := dcap.Collateral(*collateral)
	result, err := quote.Appraise(&converted)
	if err != nil {
		return nil, verdict(err)
	}
	appraisal, err := newAppraisal(result, evidence.RuntimeEvents)
	if err != nil {
		return nil, err
	}
	if err := appraisal.satisfies(&expect); err != nil {
		return nil, err
	}
	return appraisal, nil
}

// verdict names the rule of a fault.
func verdict(err error) error {
	rule := bylaw.RuleQuote
	var fault *dcap.Fault
	if errors.As(err, &fault) {
		switch fault.Kind {
		case dcap.FaultQuote:
		case dcap.FaultCollateral:
			rule = bylaw.RuleCollateral
		case dcap.FaultDebug:
			rule = bylaw.RuleDebug
		case dcap.FaultRevoked:
			rule = bylaw.RuleTCBStatus
		}
	}
	return bylaw.Because(rule, err, "the hardware's quote")
}

// checkReportData compares what was signed with what is expected, and with what the
// evidence states beside the quote.
func (e *Evidence) checkReportData(signed, expected [64]byte) error {
	if signed != expected {
		return bylaw.Refuse(bylaw.RuleReportData,
			"the quote was made for %x, not for %x: another key or challenge", signed, expected)
	}
	if e.ReportData != signed {
		return bylaw.Refuse(bylaw.RuleReportData,
			"the evidence states report data %x, its quote holds %x", e.ReportData, signed)
	}
	if e.podPayload != nil {
		if sha512.Sum512([]byte(podTag+*e.podPayload)) != signed {
			return bylaw.Refuse(bylaw.RuleReportData, "the quote was made for another payload than the pod states")
		}
	}
	return nil
}

// checkEvents shows that the runtime events are the measured ones.
func (e *Evidence) checkEvents(quoted [48]byte) error {
	if count := max(len(e.RuntimeEvents), len(e.EventLog)); count > eventlog.MaxEvents {
		return bylaw.Refuse(bylaw.RuleEventLog,
			"the event log has %d entries; the limit is %d", count, eventlog.MaxEvents)
	}
	for _, event := range e.RuntimeEvents {
		// A digest of version 1 joins name and payload by a colon, so one in the name could
		// make two different events look alike.
		if strings.Contains(event.Name, ":") {
			return bylaw.Refuse(bylaw.RuleEventLog, "the name of event %q contains a colon", event.Name)
		}
	}
	if replayed := eventlog.ReplayRuntime(e.RuntimeEvents); replayed != quoted {
		return bylaw.Refuse(bylaw.RuleEventLog,
			"the events replay to %s, the quote's RTMR3 is %x", replayed, quoted)
	}
	return nil
}
