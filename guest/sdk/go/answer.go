package bylaw

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// fields reads an answer strictly: a field that is missing or of another type is an error
// that names it. Fields that nobody asks for are ignored.
type fields struct {
	method string
	prefix string
	values map[string]json.RawMessage
	err    error
}

func readFields(method string, content []byte) *fields {
	read := &fields{method: method}
	if err := json.Unmarshal(content, &read.values); err != nil {
		read.fail("it is not a JSON object")
	} else if read.values == nil {
		read.fail("it is null")
	}
	return read
}

func (f *fields) fail(format string, values ...any) {
	if f.err == nil {
		f.err = &AnswerError{Method: f.method, Reason: fmt.Sprintf(format, values...)}
	}
}

// read decodes a field; kind names the expected type in an error.
func (f *fields) read(name, kind string, into any) bool {
	if f.err != nil {
		return false
	}
	raw, ok := f.values[name]
	if !ok {
		f.fail("field `%s%s` is missing", f.prefix, name)
		return false
	}
	if bytes.Equal(raw, []byte("null")) {
		f.fail("field `%s%s` is null, not %s", f.prefix, name, kind)
		return false
	}
	if err := json.Unmarshal(raw, into); err != nil {
		f.fail("field `%s%s` is not %s", f.prefix, name, kind)
		return false
	}
	return true
}

func (f *fields) text(name string) (text string) {
	f.read(name, "text", &text)
	return text
}

// textOrNull is text that is null where the platform has no such thing.
func (f *fields) textOrNull(name string) string {
	if raw, ok := f.values[name]; ok && bytes.Equal(raw, []byte("null")) {
		return ""
	}
	return f.text(name)
}

func (f *fields) boolean(name string) (value bool) {
	f.read(name, "true or false", &value)
	return value
}

func (f *fields) texts(name string) (texts []string) {
	var items []*string
	if !f.read(name, "a list of texts", &items) {
		return nil
	}
	for _, item := range items {
		if item == nil {
			f.fail("field `%s%s` is not a list of texts", f.prefix, name)
			return nil
		}
		texts = append(texts, *item)
	}
	return texts
}

func (f *fields) bytes(name string) []byte {
	return f.decode(name, f.text(name))
}

// optionalBytes is empty when the field is missing.
func (f *fields) optionalBytes(name string) []byte {
	if _, ok := f.values[name]; !ok {
		return nil
	}
	return f.bytes(name)
}

func (f *fields) byteLists(name string) (lists [][]byte) {
	for _, text := range f.texts(name) {
		lists = append(lists, f.decode(name, text))
	}
	return lists
}

func (f *fields) decode(name, text string) []byte {
	if f.err != nil {
		return nil
	}
	decoded, err := hex.DecodeString(text)
	if err != nil {
		f.fail("field `%s%s` is not hexadecimal", f.prefix, name)
	}
	return decoded
}

func (f *fields) length(name string, value []byte, length int) {
	if f.err == nil && len(value) != length {
		f.fail("field `%s%s` has %d bytes, not %d", f.prefix, name, len(value), length)
	}
}
