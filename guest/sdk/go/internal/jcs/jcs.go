// Package jcs writes JSON in one canonical form: keys sorted by code point, no blanks,
// and in strings nothing escaped but quotation marks, backslashes and control characters.
package jcs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

const (
	hexDigits = "0123456789abcdef"
	maxDepth  = 1000
)

// Parse reads one JSON value as maps, slices, strings, booleans, nil and [json.Number].
func Parse(text []byte) (any, error) {
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("it is not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows the value")
	}
	return value, nil
}

// Append writes a value as [Parse] returns it, or with Go's own numbers. NaN and
// infinities become null.
func Append(out []byte, value any) ([]byte, error) {
	return appendValue(out, value, 0)
}

func appendValue(out []byte, value any, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("more than %d levels", maxDepth)
	}
	switch value := value.(type) {
	case nil:
		return append(out, "null"...), nil
	case bool:
		return strconv.AppendBool(out, value), nil
	case string:
		if !utf8.ValidString(value) {
			return nil, fmt.Errorf("text %q is not UTF-8", value)
		}
		return AppendString(out, value), nil
	case json.Number:
		return append(out, value.String()...), nil
	case float64:
		if math.IsNaN(value) || math.IsInf(value, 0) {
			return append(out, "null"...), nil
		}
		number, err := json.Marshal(value)
		return append(out, number...), err
	case float32:
		return appendValue(out, float64(value), depth)
	case int:
		return strconv.AppendInt(out, int64(value), 10), nil
	case int64:
		return strconv.AppendInt(out, value, 10), nil
	case uint64:
		return strconv.AppendUint(out, value, 10), nil
	case []any:
		out = append(out, '[')
		for i, item := range value {
			if i > 0 {
				out = append(out, ',')
			}
			var err error
			if out, err = appendValue(out, item, depth+1); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), nil
	case map[string]any:
		return appendObject(out, value, depth)
	default:
		return appendOther(out, value, depth)
	}
}

func appendObject(out []byte, value map[string]any, depth int) ([]byte, error) {
	names := make([]string, 0, len(value))
	for name := range value {
		if !utf8.ValidString(name) {
			return nil, fmt.Errorf("key %q is not UTF-8", name)
		}
		names = append(names, name)
	}
	// Byte order of UTF-8 is code point order.
	slices.Sort(names)
	out = append(out, '{')
	for i, name := range names {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(AppendString(out, name), ':')
		var err error
		if out, err = appendValue(out, value[name], depth+1); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}

// appendOther takes a Go value of another type through its own JSON form.
func appendOther(out []byte, value any, depth int) ([]byte, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	plain, err := Parse(text)
	if err != nil {
		return nil, err
	}
	return appendValue(out, plain, depth+1)
}

// AppendString writes a JSON string; the text must be UTF-8.
func AppendString(out []byte, text string) []byte {
	out = append(out, '"')
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\b':
			out = append(out, '\\', 'b')
		case '\t':
			out = append(out, '\\', 't')
		case '\n':
			out = append(out, '\\', 'n')
		case '\f':
			out = append(out, '\\', 'f')
		case '\r':
			out = append(out, '\\', 'r')
		default:
			if c < 0x20 {
				out = append(out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			} else {
				out = append(out, c)
			}
		}
	}
	return append(out, '"')
}
