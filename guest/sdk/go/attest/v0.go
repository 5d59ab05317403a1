package attest

import (
	"encoding/binary"
	"fmt"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
	"github.com/bylaw/bylaw/guest/sdk/go/eventlog"
)

// platforms are the names of version 0's variants.
var platforms = []string{"tdx", "gcp-tdx", "nitro-enclave", "sev-snp", "aws-nitro-tpm"}

// parseV0 reads the SCALE form.
func parseV0(content []byte) (*Evidence, error) {
	in := &scale{rest: content[1:]}
	variant := in.take(1)
	if in.err == nil {
		if int(variant[0]) >= len(platforms) {
			return nil, bylaw.Refuse(bylaw.RuleEncoding, "evidence of version 0: platform %d does not exist", variant[0])
		}
		if variant[0] != 0 {
			return nil, unsupported(platforms[variant[0]])
		}
	}
	evidence := &Evidence{Quote: in.bytes()}
	evidence.EventLog = events(in, func() eventlog.Event {
		event := eventlog.Event{Version: 1}
		event.Register, event.Type = in.u32(), in.u32()
		event.Digest, event.Name, event.Payload = in.bytes(), string(in.bytes()), in.bytes()
		return event
	})
	evidence.RuntimeEvents = events(in, func() eventlog.Event {
		return eventlog.Event{
			Register: eventlog.RuntimeRegister,
			Type:     eventlog.RuntimeEventType,
			Version:  1,
			Name:     string(in.bytes()),
			Payload:  in.bytes(),
		}
	})
	copy(evidence.ReportData[:], in.take(reportDataLength))
	evidence.Config = string(in.bytes())
	if in.err == nil && len(in.rest) != 0 {
		in.fail("%d bytes follow it", len(in.rest))
	}
	if in.err != nil {
		return nil, bylaw.Because(bylaw.RuleEncoding, in.err, "evidence of version 0")
	}
	return evidence, nil
}

func unsupported(platform string) error {
	return bylaw.Refuse(bylaw.RulePlatform, "evidence of platform %s is not supported, only of tdx", platform)
}

// events reads a list; it stops at the first error, so a false length costs nothing.
func events(in *scale, read func() eventlog.Event) []eventlog.Event {
	var list []eventlog.Event
	for count := in.compact(); count > 0 && in.err == nil; count-- {
		list = append(list, read())
	}
	return list
}

// scale reads SCALE from the front of a buffer and remembers the first error.
type scale struct {
	rest []byte
	err  error
}

func (s *scale) fail(format string, values ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format, values...)
	}
}

func (s *scale) take(count int) []byte {
	if s.err == nil && count > len(s.rest) {
		s.fail("it is cut short")
	}
	if s.err != nil {
		return nil
	}
	taken := s.rest[:count:count]
	s.rest = s.rest[count:]
	return taken
}

func (s *scale) u32() uint32 {
	if b := s.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// compact reads a length: the two low bits say how many bytes it has. The largest form is
// for numbers that no length here can reach.
func (s *scale) compact() int {
	if s.err == nil && len(s.rest) == 0 {
		s.fail("it is cut short")
	}
	if s.err != nil {
		return 0
	}
	var value, least uint32
	switch s.rest[0] & 3 {
	case 0:
		value = uint32(s.rest[0])
		s.take(1)
	case 1:
		least = 1 << 6
		if b := s.take(2); b != nil {
			value = uint32(binary.LittleEndian.Uint16(b))
		}
	case 2:
		least = 1 << 14
		value = s.u32()
	default:
		s.fail("a length exceeds the limit")
	}
	value >>= 2
	if s.err == nil && value < least {
		s.fail("a length is not in its shortest form")
	}
	return int(value)
}

func (s *scale) bytes() []byte { return s.take(s.compact()) }
