package attest

import (
	"unicode/utf8"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
	"github.com/bylaw/bylaw/guest/sdk/go/eventlog"
	"github.com/bylaw/bylaw/guest/sdk/go/internal/dcap"
)

// MaxEvidence is the longest evidence that is read, in bytes.
const MaxEvidence = 10 << 20

const reportDataLength = 64

// Evidence is evidence of Intel TDX, parsed and not yet believed.
type Evidence struct {
	// Quote is what the hardware signed.
	Quote []byte
	// EventLog is the firmware's log; of use for looking at, not for deciding.
	EventLog []eventlog.Event
	// RuntimeEvents is what the guest says it measured into register 3.
	RuntimeEvents []eventlog.Event
	// ReportData is what the guest says it had signed; it must equal the quote's.
	ReportData [reportDataLength]byte
	// Config is the VM's description of itself, JSON text.
	Config string

	// podPayload, when there is one, must be what the report data stands for.
	podPayload *string
}

// ParseEvidence reads versioned attestation bytes, as Attest and certificates have them.
func ParseEvidence(content []byte) (*Evidence, error) {
	if len(content) > MaxEvidence {
		return nil, bylaw.Refuse(bylaw.RuleEncoding,
			"the evidence has %d bytes; the limit is %d", len(content), MaxEvidence)
	}
	if len(content) == 0 {
		return nil, bylaw.Refuse(bylaw.RuleEncoding, "the evidence is empty")
	}
	var evidence *Evidence
	var err error
	switch first := content[0]; {
	case first == 0x00:
		evidence, err = parseV0(content)
	case first&0xf0 == 0x80, first == 0xde, first == 0xdf:
		evidence, err = parseV1(content)
	default:
		return nil, bylaw.Refuse(bylaw.RuleEncoding,
			"the evidence begins with byte 0x%02x, which is neither version 0 nor version 1", first)
	}
	if err != nil {
		return nil, err
	}
	return evidence, evidence.checkTexts()
}

// checkTexts refuses names that are not UTF-8: their digests would depend on how a
// decoder repairs them.
func (e *Evidence) checkTexts() error {
	for _, event := range e.RuntimeEvents {
		if !utf8.ValidString(event.Name) {
			return bylaw.Refuse(bylaw.RuleEncoding, "the name of event %q is not UTF-8", event.Name)
		}
	}
	if !utf8.ValidString(e.Config) {
		return bylaw.Refuse(bylaw.RuleEncoding, "the VM's configuration is not UTF-8")
	}
	return nil
}

// EvidenceFromQuote takes an answer of GetQuote.
func EvidenceFromQuote(answer *bylaw.Quote) (*Evidence, error) {
	if len(answer.Quote) == 0 {
		if len(answer.Attestation) != 0 {
			return ParseEvidence(answer.Attestation)
		}
		return nil, bylaw.Refuse(bylaw.RuleEncoding, "the answer has neither a quote nor an attestation")
	}
	if len(answer.ReportData) > reportDataLength {
		return nil, bylaw.Refuse(bylaw.RuleEncoding, "the stated report data has %d bytes", len(answer.ReportData))
	}
	evidence, err := evidenceWithLog(answer.Quote, []byte(answer.EventLog))
	if err != nil {
		return nil, err
	}
	copy(evidence.ReportData[:], answer.ReportData)
	evidence.Config = answer.VMConfig
	return evidence, nil
}

// EvidenceFromJSON takes an answer of GetQuote that was kept as JSON.
func EvidenceFromJSON(content []byte) (*Evidence, error) {
	answer, err := bylaw.ParseQuote(content)
	if err != nil {
		return nil, bylaw.Because(bylaw.RuleEncoding, err, "not an answer of GetQuote")
	}
	return EvidenceFromQuote(answer)
}

// evidenceWithLog joins a quote and the JSON event log, which holds the runtime events too.
func evidenceWithLog(quote, log []byte) (*Evidence, error) {
	events, err := eventlog.Parse(log)
	if err != nil {
		return nil, bylaw.Because(bylaw.RuleEventLog, err, "the event log")
	}
	evidence := &Evidence{Quote: quote, EventLog: events}
	for _, event := range events {
		if event.Register == eventlog.RuntimeRegister {
			evidence.RuntimeEvents = append(evidence.RuntimeEvents, event)
		}
	}
	return evidence, evidence.checkTexts()
}

// quotedReportData is what the quote says, for forms that do not state it themselves.
func quotedReportData(quote []byte) ([reportDataLength]byte, error) {
	parsed, err := dcap.Parse(quote)
	if err != nil {
		return [reportDataLength]byte{}, bylaw.Because(bylaw.RuleQuote, err, "not a TDX quote of version 4 or 5")
	}
	return parsed.Report.ReportData, nil
}
