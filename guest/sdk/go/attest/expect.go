package attest

import (
	"crypto/sha512"
	"encoding/hex"
	"fmt"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
)

// UpToDate is the TCB status of a platform that lacks no fix. [Expect.TCBStatuses] means
// this one alone when it is empty.
const UpToDate = "UpToDate"

const tlsKeyTag = "ratls-cert:"

// Expect is what evidence must show. Report data is always expected, one way or the other;
// everything else only where it is given. Without AppID and ComposeHash any program in any
// confidential VM fits.
type Expect struct {
	// ReportData has 64 bytes: the challenge, filled up with zeros.
	ReportData []byte
	// TLSKey is a DER SubjectPublicKeyInfo whose [ReportDataForTLSKey] is expected.
	// VerifyCertificate takes the leaf's key when neither is given.
	TLSKey []byte
	// TCBStatuses are the acceptable states of the platform. "Revoked" never is.
	TCBStatuses []string
	// AppID has 20 bytes.
	AppID []byte
	// ComposeHash has 32 bytes.
	ComposeHash []byte
	// DeviceIDs are the machines it may run on, 32 bytes each.
	DeviceIDs [][]byte
	// Measurements are the acceptable images; one of them must fit.
	Measurements []Measurement
	// KeyProviderID is the root CA's key of the KMS that gave the app its keys:
	// SubjectPublicKeyInfo, DER.
	KeyProviderID []byte
}

// Measurement is what an image of firmware and operating system measures. Registers that
// are empty are not compared; at least one must be given.
type Measurement struct {
	MRTD  []byte
	RTMR0 []byte
	RTMR1 []byte
	RTMR2 []byte
}

// ReportDataForTLSKey is what a VM has signed to bind evidence to a TLS key, given as DER
// SubjectPublicKeyInfo.
func ReportDataForTLSKey(spki []byte) [64]byte {
	return sha512.Sum512(append([]byte(tlsKeyTag), spki...))
}

const (
	appIDLength    = 20
	hashLength     = 32
	registerLength = 48
	statusRevoked  = "Revoked"
)

// check refuses expectations that could never hold, or hold by mistake.
func (e *Expect) check() error {
	wrong := func(name string, value []byte, length int) error {
		return bylaw.Refuse(bylaw.RuleExpectation, "%s has %d bytes, not %d", name, len(value), length)
	}
	switch {
	case e.ReportData == nil && e.TLSKey == nil:
		return bylaw.Refuse(bylaw.RuleExpectation,
			"neither ReportData nor TLSKey is given: without them, evidence of anybody else could be replayed")
	case e.ReportData != nil && e.TLSKey != nil:
		return bylaw.Refuse(bylaw.RuleExpectation, "ReportData and TLSKey are both given")
	case e.ReportData != nil && len(e.ReportData) != reportDataLength:
		return wrong("ReportData", e.ReportData, reportDataLength)
	case e.AppID != nil && len(e.AppID) != appIDLength:
		return wrong("AppID", e.AppID, appIDLength)
	case e.ComposeHash != nil && len(e.ComposeHash) != hashLength:
		return wrong("ComposeHash", e.ComposeHash, hashLength)
	}
	for _, device := range e.DeviceIDs {
		if len(device) != hashLength {
			return wrong("an entry of DeviceIDs", device, hashLength)
		}
	}
	for index, measurement := range e.Measurements {
		if err := measurement.check(); err != nil {
			return bylaw.Because(bylaw.RuleExpectation, err, "Measurements[%d]", index)
		}
	}
	return nil
}

func (m *Measurement) registers() [4][]byte { return [4][]byte{m.MRTD, m.RTMR0, m.RTMR1, m.RTMR2} }

func (m *Measurement) check() error {
	given := 0
	for _, register := range m.registers() {
		if len(register) == 0 {
			continue
		}
		given++
		if len(register) != registerLength {
			return fmt.Errorf("register %s has %d bytes, not %d",
				hex.EncodeToString(register), len(register), registerLength)
		}
	}
	if given == 0 {
		return fmt.Errorf("it names no register")
	}
	return nil
}

func (e *Expect) reportData() [64]byte {
	if e.TLSKey != nil {
		return ReportDataForTLSKey(e.TLSKey)
	}
	return [64]byte(e.ReportData)
}
