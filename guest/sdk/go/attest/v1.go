package attest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
	"github.com/bylaw/bylaw/guest/sdk/go/eventlog"
)

const (
	evidenceVersion = 1
	stackPlain      = "dstack"
	stackPod        = "dstack-pod"

	// optional ends the names of fields that may be missing.
	optional = "?"
)

// parseV1 reads the MessagePack form. It never skips a value, so nesting costs nothing.
func parseV1(content []byte) (*Evidence, error) {
	reader := bytes.NewReader(content)
	in := &packed{decoder: msgpack.NewDecoder(reader), reader: reader}
	evidence := &Evidence{}
	var version uint64
	in.structure("the evidence", map[string]func(){
		"version":  func() { version = in.uint(math.MaxUint32) },
		"platform": func() { in.tagged("platform", func(kind string) { in.platform(kind, evidence) }) },
		"stack":    func() { in.tagged("stack", func(kind string) { in.stack(kind, evidence) }) },
	})
	if in.err == nil && version != evidenceVersion {
		in.fail("version %d is not %d", version, evidenceVersion)
	}
	if in.err == nil && reader.Len() != 0 {
		in.fail("%d bytes follow it", reader.Len())
	}
	var verdict *bylaw.VerifyError
	if errors.As(in.err, &verdict) {
		return nil, verdict
	}
	if in.err != nil {
		return nil, bylaw.Because(bylaw.RuleEncoding, in.err, "evidence of version 1")
	}
	return evidence, nil
}

// packed reads MessagePack strictly and remembers the first error.
type packed struct {
	decoder *msgpack.Decoder
	reader  *bytes.Reader
	err     error
}

func (p *packed) fail(format string, values ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, values...)
	}
}

func (p *packed) check(err error) {
	if err != nil && p.err == nil {
		p.err = err
	}
}

// structure reads a map that has each of these fields once and no other, optional ones
// being those whose name ends in a question mark.
func (p *packed) structure(name string, fields map[string]func()) {
	count := p.length(name, p.decoder.DecodeMapLen)
	seen := make(map[string]bool, len(fields))
	for ; count > 0 && p.err == nil; count-- {
		field := p.text()
		read, known := fields[field]
		if strings.HasSuffix(field, optional) {
			known = false
		} else if !known {
			if read, known = fields[field+optional]; known {
				field += optional
			}
		}
		switch {
		case p.err != nil:
		case !known:
			p.fail("%s has a field %q", name, field)
		case seen[field]:
			p.fail("%s has the field %q twice", name, field)
		default:
			seen[field] = true
			read()
		}
	}
	for field := range fields {
		if p.err == nil && !seen[field] && !strings.HasSuffix(field, optional) {
			p.fail("%s lacks the field %q", name, field)
		}
	}
}

// tagged reads `{kind, data}`, in this order.
func (p *packed) tagged(name string, read func(kind string)) {
	kind := ""
	p.structure(name, map[string]func(){
		"kind": func() { kind = p.text() },
		"data": func() {
			if kind == "" {
				p.fail("%s has no kind before its data", name)
				return
			}
			read(kind)
		},
	})
}

func (p *packed) platform(kind string, evidence *Evidence) {
	if kind != "tdx" {
		p.check(unsupported(kind))
		return
	}
	p.structure("the platform", map[string]func(){
		"quote":     func() { evidence.Quote = p.integers() },
		"event_log": func() { evidence.EventLog = p.events(p.firmwareEvent) },
	})
}

func (p *packed) stack(kind string, evidence *Evidence) {
	fields := map[string]func(){
		"report_data": func() {
			data := p.integers()
			if p.err == nil && len(data) != reportDataLength {
				p.fail("report data has %d bytes, not %d", len(data), reportDataLength)
			}
			copy(evidence.ReportData[:], data)
		},
		"runtime_events": func() { evidence.RuntimeEvents = p.events(p.runtimeEvent) },
		"config":         func() { evidence.Config = p.text() },
	}
	switch kind {
	case stackPlain:
	case stackPod:
		fields["report_data_payload"] = func() {
			payload := p.text()
			evidence.podPayload = &payload
		}
	default:
		p.fail("a stack of kind %q does not exist", kind)
	}
	p.structure("the stack", fields)
}

func (p *packed) events(read func() eventlog.Event) []eventlog.Event {
	var list []eventlog.Event
	for count := p.length("a list of events", p.decoder.DecodeArrayLen); count > 0 && p.err == nil; count-- {
		list = append(list, read())
	}
	return list
}

func (p *packed) firmwareEvent() eventlog.Event {
	event := eventlog.Event{Version: 1}
	p.structure("an event", map[string]func(){
		"imr":           func() { event.Register = uint32(p.uint(math.MaxUint32)) },
		"event_type":    func() { event.Type = uint32(p.uint(math.MaxUint32)) },
		"digest":        func() { event.Digest = p.bin() },
		"event":         func() { event.Name = p.text() },
		"event_payload": func() { event.Payload = p.bin() },
		"version?":      func() { event.Version = p.version() },
		"preimage?":     p.textOrNil,
	})
	return event
}

func (p *packed) runtimeEvent() eventlog.Event {
	event := eventlog.Event{Register: eventlog.RuntimeRegister, Type: eventlog.RuntimeEventType, Version: 1}
	p.structure("a runtime event", map[string]func(){
		"event":    func() { event.Name = p.text() },
		"payload":  func() { event.Payload = p.bin() },
		"version?": func() { event.Version = p.version() },
	})
	return event
}

func (p *packed) version() uint32 {
	version := uint32(p.uint(math.MaxUint32))
	if p.err == nil {
		p.check(eventlog.CheckVersion(version))
	}
	return version
}

// length reads a length and refuses one that the rest of the buffer cannot hold.
func (p *packed) length(name string, read func() (int, error)) int {
	if p.err != nil {
		return 0
	}
	length, err := read()
	p.check(err)
	if p.err == nil && (length < 0 || length > p.reader.Len()) {
		p.fail("%s has a length that exceeds the evidence", name)
	}
	if p.err != nil {
		return 0
	}
	return length
}

// is tells whether the next value has one of these types.
func (p *packed) is(kind string, codes func(code byte) bool) bool {
	if p.err != nil {
		return false
	}
	code, err := p.decoder.PeekCode()
	p.check(err)
	if p.err == nil && !codes(code) {
		p.fail("byte 0x%02x does not begin %s", code, kind)
	}
	return p.err == nil
}

func (p *packed) uint(limit uint64) uint64 {
	if !p.is("an integer", func(code byte) bool {
		return code <= msgpcode.PosFixedNumHigh || (code >= msgpcode.Uint8 && code <= msgpcode.Uint64)
	}) {
		return 0
	}
	value, err := p.decoder.DecodeUint64()
	p.check(err)
	if p.err == nil && value > limit {
		p.fail("the number %d exceeds %d", value, limit)
	}
	return value
}

func (p *packed) text() string {
	if !p.is("text", msgpcode.IsString) {
		return ""
	}
	text, err := p.decoder.DecodeString()
	p.check(err)
	return text
}

func (p *packed) textOrNil() {
	if code, err := p.decoder.PeekCode(); err == nil && code == msgpcode.Nil {
		p.check(p.decoder.DecodeNil())
		return
	}
	p.text()
}

func (p *packed) bin() []byte {
	if !p.is("bytes", msgpcode.IsBin) {
		return nil
	}
	content, err := p.decoder.DecodeBytes()
	p.check(err)
	return content
}

// integers reads bytes that are written as an array of integers.
func (p *packed) integers() []byte {
	var content []byte
	for count := p.length("an array", p.decoder.DecodeArrayLen); count > 0 && p.err == nil; count-- {
		content = append(content, byte(p.uint(math.MaxUint8)))
	}
	return content
}
