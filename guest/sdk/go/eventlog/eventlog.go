// Package eventlog reads the event logs of a confidential VM and replays them into the
// registers that its quote carries.
package eventlog

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/bylaw/bylaw/guest/sdk/go/internal/jcs"
)

const (
	// RuntimeEventType is the type of events that the guest itself extends.
	RuntimeEventType = 0x08000001
	// RuntimeRegister is the register (0-based) that they go to.
	RuntimeRegister = 3
	// MaxEvents is the most events a log may have.
	MaxEvents = 4096
	// SystemReady is the last event of the system; what follows is the app's own.
	SystemReady = "system-ready"

	registers    = 4
	digestLength = sha512.Size384
)

// Register is the value of a measurement register.
type Register [digestLength]byte

// String is the value in hex.
func (r Register) String() string { return hex.EncodeToString(r[:]) }

// Event is one entry of an event log.
type Event struct {
	// Register is 0-based, 0 to 3.
	Register uint32
	// Type is a TCG event type, or [RuntimeEventType].
	Type uint32
	// Digest has 48 bytes, or none where a form of the log leaves it out.
	Digest []byte
	// Name is empty for most entries of the firmware.
	Name string
	// Payload means something else for each name; empty where a form leaves it out.
	Payload []byte
	// Version says how the digest of a runtime event is made: 1 or 2.
	Version uint32
}

// wireEvent is the JSON form; pointers tell missing fields from empty ones.
type wireEvent struct {
	Register *uint32 `json:"imr"`
	Type     *uint32 `json:"event_type"`
	Digest   *string `json:"digest"`
	Name     *string `json:"event"`
	Payload  *string `json:"event_payload"`
	Version  *uint32 `json:"version"`
}

// Parse reads the JSON form: an array of entries, bytes in hex.
func Parse(text []byte) ([]Event, error) {
	var entries []*wireEvent
	if err := json.Unmarshal(text, &entries); err != nil {
		return nil, fmt.Errorf("event log is not a JSON array of events: %w", err)
	}
	if entries == nil {
		return nil, fmt.Errorf("event log is null, not a JSON array of events")
	}
	if len(entries) > MaxEvents {
		return nil, fmt.Errorf("event log has %d entries; the limit is %d", len(entries), MaxEvents)
	}
	events := make([]Event, 0, len(entries))
	for index, entry := range entries {
		event, err := entry.event()
		if err != nil {
			return nil, fmt.Errorf("event log entry %d: %w", index, err)
		}
		events = append(events, event)
	}
	return events, nil
}

func (w *wireEvent) event() (Event, error) {
	switch {
	case w == nil:
		return Event{}, fmt.Errorf("it is null")
	case w.Register == nil:
		return Event{}, fmt.Errorf("field `imr` is missing")
	case w.Type == nil:
		return Event{}, fmt.Errorf("field `event_type` is missing")
	case w.Digest == nil:
		return Event{}, fmt.Errorf("field `digest` is missing")
	case w.Name == nil:
		return Event{}, fmt.Errorf("field `event` is missing")
	case w.Payload == nil:
		return Event{}, fmt.Errorf("field `event_payload` is missing")
	}
	digest, err := hex.DecodeString(*w.Digest)
	if err != nil {
		return Event{}, fmt.Errorf("field `digest` is not hexadecimal")
	}
	payload, err := hex.DecodeString(*w.Payload)
	if err != nil {
		return Event{}, fmt.Errorf("field `event_payload` is not hexadecimal")
	}
	version := uint32(1)
	if w.Version != nil {
		version = *w.Version
	}
	if err := CheckVersion(version); err != nil {
		return Event{}, err
	}
	return Event{
		Register: *w.Register,
		Type:     *w.Type,
		Digest:   digest,
		Name:     *w.Name,
		Payload:  payload,
		Version:  version,
	}, nil
}

// CheckVersion refuses a version that no digest is defined for.
func CheckVersion(version uint32) error {
	if version != 1 && version != 2 {
		return fmt.Errorf("event version %d is neither 1 nor 2", version)
	}
	return nil
}

// IsRuntime tells whether the guest extended the event, so that its digest follows from
// its name and payload.
func (e Event) IsRuntime() bool {
	return e.Register == RuntimeRegister && e.Type == RuntimeEventType
}

// RuntimeDigest is the digest that a runtime event of this name and payload has.
func (e Event) RuntimeDigest() Register {
	if e.Version == 2 {
		return sha512.Sum384(e.canonical())
	}
	var preimage bytes.Buffer
	_ = binary.Write(&preimage, binary.LittleEndian, uint32(RuntimeEventType))
	preimage.WriteString(":" + e.Name + ":")
	preimage.Write(e.Payload)
	return sha512.Sum384(preimage.Bytes())
}

// canonical is the RFC 8785 form that version 2 hashes.
func (e Event) canonical() []byte {
	out := jcs.AppendString([]byte(`{"name":`), strings.ToValidUTF8(e.Name, "\uFFFD"))
	out = jcs.AppendString(append(out, `,"payload":`...), hex.EncodeToString(e.Payload))
	return fmt.Appendf(out, `,"type":%d}`, RuntimeEventType)
}

// Extend is the register after one more digest.
func (r Register) Extend(digest []byte) Register {
	return sha512.Sum384(append(append(make([]byte, 0, 2*digestLength), r[:]...), digest...))
}

// ReplayRTMRs computes the four registers from a log. A runtime event without a digest
// gets the one that follows from its name and payload; one with a digest is believed, so
// this does not show that payloads are the measured ones: [ReplayRuntime] does.
func ReplayRTMRs(events []Event) ([4]Register, error) {
	var values [registers]Register
	for index, event := range events {
		if event.Register >= registers {
			return values, fmt.Errorf("event log entry %d: register %d does not exist", index, event.Register)
		}
		digest := event.Digest
		switch {
		case len(digest) == 0 && event.IsRuntime():
			computed := event.RuntimeDigest()
			digest = computed[:]
		case len(digest) != digestLength:
			return values, fmt.Errorf(
				"event log entry %d: the digest has %d bytes, not %d", index, len(digest), digestLength,
			)
		}
		values[event.Register] = values[event.Register].Extend(digest)
	}
	return values, nil
}

// ReplayRuntime computes register 3 from names and payloads alone, whatever the digests
// in the log say.
func ReplayRuntime(events []Event) Register {
	var value Register
	for _, event := range events {
		digest := event.RuntimeDigest()
		value = value.Extend(digest[:])
	}
	return value
}

// Field is the payload of the first event of that name before [SystemReady]. Later events
// are the app's own and say nothing about the system.
func Field(events []Event, name string) ([]byte, bool) {
	for _, event := range events {
		if event.Name == SystemReady {
			break
		}
		if event.Name == name {
			return event.Payload, true
		}
	}
	return nil, false
}
