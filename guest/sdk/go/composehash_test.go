package bylaw

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/bylaw/bylaw/guest/sdk/go/internal/vectors"
)

func TestComposeHashVectors(t *testing.T) {
	cases := vectors.Load[[]struct {
		Name      string `json:"name"`
		Compose   string `json:"compose"`
		Normalize bool   `json:"normalize"`
		Canonical string `json:"canonical"`
		Hash      string `json:"hash"`
	}](t, "compose_hash.json")
	if len(cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range cases {
		canonical, err := canonicalCompose(json.RawMessage(c.Compose), c.Normalize)
		if err != nil || string(canonical) != c.Canonical {
			t.Errorf("%s: %s, %v", c.Name, canonical, err)
		}
		hash, err := ComposeHash(json.RawMessage(c.Compose), c.Normalize)
		if err != nil || hash != c.Hash {
			t.Errorf("%s: %s, %v", c.Name, hash, err)
		}
		var value any
		if err := json.Unmarshal([]byte(c.Compose), &value); err != nil {
			t.Fatal(err)
		}
		if hash, err := ComposeHash(value, c.Normalize); err != nil || hash != c.Hash {
			t.Errorf("%s, as a Go value: %s, %v", c.Name, hash, err)
		}
	}
}

func TestComposeHashOfGoValues(t *testing.T) {
	type compose struct {
		Runner string `json:"runner"`
		Script string `json:"bash_script"`
		File   string `json:"docker_compose_file"`
		Size   uint64 `json:"size"`
	}
	canonical, err := canonicalCompose(compose{"bash", "<&>", "x", math.MaxUint64}, true)
	if err != nil || string(canonical) != `{"bash_script":"<&>","runner":"bash","size":18446744073709551615}` {
		t.Errorf("%s, %v", canonical, err)
	}
	canonical, err = canonicalCompose(map[string]any{
		"a": math.NaN(), "b": math.Inf(-1), "c": float32(math.Inf(1)), "d": []string{"\u2028"}, "e": 1,
		"f": int64(-1), "g": uint64(2), "h": 0.5, "i": map[string]int{"z": 1, "y": 2}, "j": true,
	}, false)
	if err != nil || string(canonical) !=
		"{\"a\":null,\"b\":null,\"c\":null,\"d\":[\"\u2028\"],\"e\":1,\"f\":-1,\"g\":2,\"h\":0.5,\"i\":{\"y\":2,\"z\":1},\"j\":true}" {
		t.Errorf("%s, %v", canonical, err)
	}
	original := map[string]any{"runner": "bash", "docker_compose_file": "x"}
	if _, err := ComposeHash(original, true); err != nil || len(original) != 2 {
		t.Errorf("the caller's value is changed: %v, %v", original, err)
	}
	for _, bad := range []any{
		json.RawMessage("{"), json.RawMessage("{} {}"), json.RawMessage("{}]"), json.RawMessage("\xff"),
		json.RawMessage(""), func() {}, "\xff", map[string]any{"\xff": 1}, []any{[]any{"\xff"}},
	} {
		if hash, err := ComposeHash(bad, false); err == nil {
			t.Errorf("%v is %s", bad, hash)
		}
	}
	for _, bad := range []any{json.RawMessage("[]"), json.RawMessage("null"), 7, []string{}} {
		if hash, err := ComposeHash(bad, true); err == nil {
			t.Errorf("%v is normalised to %s", bad, hash)
		}
	}
	var deep any
	for range 2000 {
		deep = []any{deep}
	}
	if _, err := ComposeHash(deep, false); err == nil {
		t.Error("endless nesting accepted")
	}
}
