// Package vectors loads the test vectors that all SDKs share. Only tests use it.
package vectors

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Folder is where the repository keeps its vectors.
func Folder(t testing.TB) string {
	t.Helper()
	_, here, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("no path of this file")
	}
	return filepath.Join(filepath.Dir(here), "../../../../../test/vectors")
}

// Read is the content of a file in the folder; a missing file fails the test.
func Read(t testing.TB, path ...string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{Folder(t)}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// Load decodes one of the files for SDKs.
func Load[T any](t testing.TB, name string) T {
	t.Helper()
	var value T
	if err := json.Unmarshal(Read(t, "sdk", name), &value); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return value
}

// Hex is bytes that a vector writes in hex.
type Hex []byte

// UnmarshalText decodes hex.
func (h *Hex) UnmarshalText(text []byte) error {
	decoded, err := hex.DecodeString(string(text))
	*h = decoded
	return err
}

// Lists turns what a vector says into plain byte slices.
func Lists(values []Hex) [][]byte {
	out := make([][]byte, 0, len(values))
	for _, value := range values {
		out = append(out, value)
	}
	return out
}
