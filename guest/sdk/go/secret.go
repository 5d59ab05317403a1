package bylaw

import (
	"fmt"
	"io"
)

// redacted is what a secret prints as.
const redacted = "[secret]"

// Secret holds bytes that must not end up in a log. It prints as "[secret]" with every
// verb, in JSON and in structured logs; [Secret.Expose] gives the bytes.
type Secret struct {
	// A function, because fmt and other printers show the contents of a byte slice in an
	// unexported field of someone else's struct, but of a function only its address.
	expose func() []byte
}

// NewSecret keeps a copy of the bytes.
func NewSecret(secret []byte) Secret {
	kept := append([]byte(nil), secret...)
	return Secret{expose: func() []byte { return append([]byte(nil), kept...) }}
}

// Expose returns a copy of the bytes. Whoever calls it answers for where they go.
func (s Secret) Expose() []byte {
	if s.expose == nil {
		return nil
	}
	return s.expose()
}

// String hides the bytes.
func (Secret) String() string { return redacted }

// GoString hides the bytes.
func (Secret) GoString() string { return redacted }

// Format hides the bytes from every verb.
func (Secret) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, redacted) }

// MarshalText hides the bytes from JSON and structured logs.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
