package eventlog

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/bylaw/bylaw/guest/sdk/go/internal/vectors"
)

func TestReplayVectors(t *testing.T) {
	cases := vectors.Load[[]struct {
		Name     string   `json:"name"`
		EventLog string   `json:"event_log"`
		RTMRs    []string `json:"rtmrs"`
	}](t, "rtmr.json")
	if len(cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range cases {
		events, err := Parse([]byte(c.EventLog))
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		registers, err := ReplayRTMRs(events)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		for i, register := range registers {
			if register.String() != c.RTMRs[i] {
				t.Errorf("%s: RTMR%d is %s, not %s", c.Name, i, register, c.RTMRs[i])
			}
		}
	}
}

// The digests of both versions, computed independently of this code.
func TestRuntimeDigests(t *testing.T) {
	var file struct {
		Events []struct {
			Event   string      `json:"event"`
			Payload vectors.Hex `json:"payload"`
			V1      string      `json:"v1_sha384"`
			V2      string      `json:"v2_sha384"`
		} `json:"runtime_events"`
		Replay map[string]any `json:"replay"`
	}
	if err := json.Unmarshal(vectors.Read(t, "attest", "attestation-vectors.json"), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Events) == 0 {
		t.Fatal("no cases")
	}
	var one, two []Event
	for _, c := range file.Events {
		event := Event{Name: c.Event, Payload: c.Payload, Version: 1}
		one = append(one, event)
		if event.RuntimeDigest().String() != c.V1 {
			t.Errorf("%s: digest of version 1 is %s", c.Event, event.RuntimeDigest())
		}
		event.Version = 2
		two = append(two, event)
		if event.RuntimeDigest().String() != c.V2 {
			t.Errorf("%s: digest of version 2 is %s", c.Event, event.RuntimeDigest())
		}
	}
	if got := ReplayRuntime(one).String(); got != file.Replay["v1_rtmr3_all"] {
		t.Errorf("version 1 replays to %s", got)
	}
	if got := ReplayRuntime(two).String(); got != file.Replay["v2_rtmr3_all"] {
		t.Errorf("version 2 replays to %s", got)
	}
}

func TestBadLogsAreRefused(t *testing.T) {
	entry := `{"imr":3,"event_type":134217729,"digest":"","event":"a","event_payload":""}`
	for text, part := range map[string]string{
		"":                          "JSON",
		"null":                      "null",
		"{}":                        "JSON",
		"[1]":                       "JSON",
		"[null]":                    "entry 0",
		"[" + entry + `,{"imr":3}]`: "entry 1: field `event_type`",
		strings.Replace("["+entry+"]", `"imr":3,`, "", 1):                   "`imr`",
		strings.Replace("["+entry+"]", `"digest":"",`, "", 1):               "`digest`",
		strings.Replace("["+entry+"]", `"event":"a",`, "", 1):               "`event`",
		strings.Replace("["+entry+"]", `,"event_payload":""`, "", 1):        "`event_payload`",
		strings.Replace("["+entry+"]", `"digest":""`, `"digest":"zz"`, 1):   "`digest` is not hex",
		strings.Replace("["+entry+"]", `payload":""`, `payload":"0"`, 1):    "`event_payload` is not hex",
		strings.Replace("["+entry+"]", `"imr":3`, `"imr":-1`, 1):            "JSON",
		strings.Replace("["+entry+"]", `"imr":3`, `"version":3,"imr":3`, 1): "version 3",
		"[" + strings.Repeat(entry+",", MaxEvents) + entry + "]":            "limit",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%.60s: %v", text, err)
		}
	}
	for _, event := range []Event{
		{Register: 4, Digest: make([]byte, 48)},
		{Register: 0, Digest: make([]byte, 47)},
		{Register: 0},
		{Register: 3, Type: 4},
	} {
		if _, err := ReplayRTMRs([]Event{event}); err == nil {
			t.Errorf("%+v replays", event)
		}
	}
}

func TestFieldsEndWithTheSystem(t *testing.T) {
	events := []Event{
		{Name: "app-id", Payload: []byte{1}}, {Name: "app-id", Payload: []byte{2}},
		{Name: SystemReady}, {Name: "compose-hash", Payload: []byte{3}},
	}
	if payload, ok := Field(events, "app-id"); !ok || fmt.Sprint(payload) != "[1]" {
		t.Errorf("app-id is %v", payload)
	}
	if _, ok := Field(events, "compose-hash"); ok {
		t.Error("an event of the app counts")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`[{"imr":3,"event_type":134217729,"digest":"","event":"a","event_payload":"00","version":2}]`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, text []byte) {
		events, err := Parse(text)
		if err != nil {
			return
		}
		if _, err := ReplayRTMRs(events); err == nil {
			ReplayRuntime(events)
		}
	})
}
