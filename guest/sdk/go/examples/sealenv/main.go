// Sealenv encrypts environment variables for an app and signs them. The X25519 key is the
// one that kms.VerifyEnvKey accepted; the signer's address is in the app's manifest.
//
//	SIGNER_KEY=<hex> go run ./examples/sealenv X25519_KEY APP_ID REVISION NAME=VALUE... > encrypted-env
package main

import (
	"encoding/hex"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"

	"github.com/bylaw/bylaw/guest/sdk/go/environment"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 4 {
		log.Fatal("usage: sealenv X25519_KEY APP_ID REVISION NAME=VALUE...")
	}
	sealed, err := seal(os.Args[1], os.Args[2], os.Args[3], os.Args[4:])
	if err != nil {
		log.Fatal(err)
	}
	if _, err := os.Stdout.Write(sealed); err != nil {
		log.Fatal(err)
	}
}

func seal(recipient, app, revision string, assignments []string) ([]byte, error) {
	var decoded [3][]byte
	for index, text := range []string{recipient, app, os.Getenv("SIGNER_KEY")} {
		content, err := hex.DecodeString(strings.TrimPrefix(text, "0x"))
		if err != nil {
			return nil, fmt.Errorf("X25519_KEY, APP_ID and SIGNER_KEY must be hex")
		}
		decoded[index] = content
	}
	number, err := strconv.ParseUint(revision, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("REVISION %q is not a number", revision)
	}
	var vars []environment.Var
	for index, assignment := range assignments {
		name, value, ok := strings.Cut(assignment, "=")
		if !ok {
			return nil, fmt.Errorf("variable %d has no value; write NAME=VALUE", index)
		}
		vars = append(vars, environment.Var{Name: name, Value: value})
	}
	signer, err := environment.NewKeySigner(decoded[2])
	if err != nil {
		return nil, fmt.Errorf("SIGNER_KEY: %w", err)
	}
	return environment.EncryptSigned(vars, decoded[0], decoded[1], number, signer)
}
