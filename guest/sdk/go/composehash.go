package bylaw

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/bylaw/bylaw/guest/sdk/go/internal/jcs"
)

// ComposeHash is SHA-256, in hex, of an app's manifest written as compact JSON with sorted
// keys. compose is a value that encoding/json can write, or JSON text as [json.RawMessage].
// NaN and infinities count as null. With normalize, what the runner does not use is left
// out first: the compose file for runner "bash", the script for compose runners, and an
// empty pre-launch script.
//
// The platform itself measures the raw bytes of app-compose.json, whatever their layout;
// the two agree only for a file that was written in this form.
func ComposeHash(compose any, normalize bool) (string, error) {
	canonical, err := canonicalCompose(compose, normalize)
	if err != nil {
		return "", fmt.Errorf("app-compose: %w", err)
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:]), nil
}

func canonicalCompose(compose any, normalize bool) ([]byte, error) {
	if text, ok := compose.(json.RawMessage); ok {
		parsed, err := jcs.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("it is not valid JSON: %w", err)
		}
		compose = parsed
	}
	if !normalize {
		return jcs.Append(nil, compose)
	}
	object, ok := compose.(map[string]any)
	if !ok {
		// A struct of the caller's: what it says in JSON is what counts.
		text, err := jcs.Append(nil, compose)
		if err != nil {
			return nil, err
		}
		parsed, err := jcs.Parse(text)
		if err != nil {
			return nil, err
		}
		if object, ok = parsed.(map[string]any); !ok {
			return nil, fmt.Errorf("only a JSON object can be normalised")
		}
	}
	return jcs.Append(nil, normalized(object))
}

func normalized(compose map[string]any) map[string]any {
	kept := make(map[string]any, len(compose))
	for name, value := range compose {
		kept[name] = value
	}
	switch compose["runner"] {
	case "bash":
		delete(kept, "docker_compose_file")
	case "docker-compose", "nerdctl-compose":
		delete(kept, "bash_script")
	}
	if kept["pre_launch_script"] == "" {
		delete(kept, "pre_launch_script")
	}
	return kept
}
