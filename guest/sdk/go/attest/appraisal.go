package attest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
	"github.com/bylaw/bylaw/guest/sdk/go/eventlog"
	"github.com/bylaw/bylaw/guest/sdk/go/internal/dcap"
)

// Appraisal is what verified evidence establishes.
type Appraisal struct {
	// MRTD measures the firmware; the registers measure what ran after it.
	MRTD eventlog.Register
	RTMR [4]eventlog.Register
	// ReportData is what the VM had signed.
	ReportData [64]byte
	// TCBStatus is the platform's state by the vendor's word, AdvisoryIDs what it lacks.
	TCBStatus   string
	AdvisoryIDs []string
	// AppID has 20 bytes, ComposeHash 32, InstanceID 20 or none.
	AppID       []byte
	ComposeHash []byte
	InstanceID  []byte
	// DeviceID is SHA-256 of the platform's name.
	DeviceID [32]byte
	// MRSystem and MRAggregated are dstack's digests over the registers.
	MRSystem     [32]byte
	MRAggregated [32]byte
	// KeyProvider is who gave the app its keys; nil when none is measured.
	KeyProvider *KeyProvider
	// Events are the measured runtime events, in order, the app's own included.
	Events []eventlog.Event
	// Debug is false: evidence of debug VMs is refused.
	Debug bool
}

// KeyProvider is who gave an app its keys.
type KeyProvider struct {
	// Name is "none", "kms", "local-sgx" or "tpm".
	Name string `json:"name"`
	// ID is hex; for a KMS its root CA's key, SubjectPublicKeyInfo.
	ID string `json:"id"`
}

// Names of events.
const (
	eventAppID       = "app-id"
	eventComposeHash = "compose-hash"
	eventInstanceID  = "instance-id"
	eventKeyProvider = "key-provider"

	providerKMS      = "kms"
	instanceIDLength = 20
)

// newAppraisal reads what the registers and the measured events say.
func newAppraisal(result *dcap.Result, events []eventlog.Event) (*Appraisal, error) {
	report := &result.Report
	appraisal := &Appraisal{
		MRTD:        report.MRTD,
		ReportData:  report.ReportData,
		TCBStatus:   result.TCBStatus,
		AdvisoryIDs: result.AdvisoryIDs,
		DeviceID:    sha256.Sum256(result.PPID),
		Events:      events,
	}
	for index, register := range report.RTMR {
		appraisal.RTMR[index] = register
	}
	var err error
	if appraisal.AppID, err = measured(events, eventAppID, appIDLength); err != nil {
		return nil, err
	}
	if appraisal.ComposeHash, err = measured(events, eventComposeHash, hashLength); err != nil {
		return nil, err
	}
	if instance, ok := eventlog.Field(events, eventInstanceID); ok && len(instance) != 0 {
		if len(instance) != instanceIDLength {
			return nil, bylaw.Refuse(bylaw.RuleEventLog, "event %s has %d bytes", eventInstanceID, len(instance))
		}
		appraisal.InstanceID = instance
	}
	provider, _ := eventlog.Field(events, eventKeyProvider)
	if len(provider) != 0 {
		appraisal.KeyProvider = &KeyProvider{}
		if err := json.Unmarshal(provider, appraisal.KeyProvider); err != nil {
			return nil, bylaw.Because(bylaw.RuleKeyProvider, err, "event %s is not a JSON object", eventKeyProvider)
		}
	}
	appraisal.MRSystem, appraisal.MRAggregated = digests(report, provider)
	return appraisal, nil
}

func measured(events []eventlog.Event, name string, length int) ([]byte, error) {
	payload, ok := eventlog.Field(events, name)
	if !ok {
		return nil, bylaw.Refuse(bylaw.RuleEventLog, "the VM measured no %s before %s", name, eventlog.SystemReady)
	}
	if len(payload) != length {
		return nil, bylaw.Refuse(bylaw.RuleEventLog, "event %s has %d bytes, not %d", name, len(payload), length)
	}
	return payload, nil
}

// digests computes mr_system and mr_aggregated.
func digests(report *dcap.Report, provider []byte) (system, aggregated [32]byte) {
	var providerDigest [32]byte
	if len(provider) != 0 {
		providerDigest = sha256.Sum256(provider)
	}
	image := slices.Concat(report.MRTD[:], report.RTMR[0][:], report.RTMR[1][:], report.RTMR[2][:])
	system = sha256.Sum256(slices.Concat(image, providerDigest[:]))
	all := slices.Concat(image, report.RTMR[3][:])
	launch := slices.Concat(report.MRConfigID[:], report.MROwner[:], report.MROwnerConfig[:])
	if !bytes.Equal(launch, make([]byte, len(launch))) {
		all = append(all, launch...)
	}
	return system, sha256.Sum256(all)
}

// satisfies compares an appraisal with everything but the report data.
func (a *Appraisal) satisfies(expect *Expect) error {
	statuses := expect.TCBStatuses
	if len(statuses) == 0 {
		statuses = []string{UpToDate}
	}
	switch {
	case a.TCBStatus == statusRevoked || !slices.Contains(statuses, a.TCBStatus):
		return bylaw.Refuse(bylaw.RuleTCBStatus, "the platform is %s (%v), accepted are %v",
			a.TCBStatus, a.AdvisoryIDs, statuses)
	case expect.AppID != nil && !bytes.Equal(expect.AppID, a.AppID):
		return bylaw.Refuse(bylaw.RuleAppID, "it is app %x, not %x", a.AppID, expect.AppID)
	case expect.ComposeHash != nil && !bytes.Equal(expect.ComposeHash, a.ComposeHash):
		return bylaw.Refuse(bylaw.RuleComposeHash, "its manifest is %x, not %x", a.ComposeHash, expect.ComposeHash)
	case expect.DeviceIDs != nil && !slices.ContainsFunc(expect.DeviceIDs, func(id []byte) bool {
		return bytes.Equal(id, a.DeviceID[:])
	}):
		return bylaw.Refuse(bylaw.RuleDevice, "machine %x is none of those that are expected", a.DeviceID)
	case expect.Measurements != nil && !slices.ContainsFunc(expect.Measurements, a.measures):
		return bylaw.Refuse(bylaw.RuleMeasurement,
			"MRTD %s and RTMR0 to 2 %s, %s, %s are none of the measurements that are expected",
			a.MRTD, a.RTMR[0], a.RTMR[1], a.RTMR[2])
	}
	if expect.KeyProviderID != nil {
		return a.hasKMS(expect.KeyProviderID)
	}
	return nil
}

func (a *Appraisal) measures(expected Measurement) bool {
	actual := [4]eventlog.Register{a.MRTD, a.RTMR[0], a.RTMR[1], a.RTMR[2]}
	for index, register := range expected.registers() {
		if len(register) != 0 && !bytes.Equal(register, actual[index][:]) {
			return false
		}
	}
	return true
}

func (a *Appraisal) hasKMS(id []byte) error {
	if a.KeyProvider == nil {
		return bylaw.Refuse(bylaw.RuleKeyProvider, "the VM measured no key provider")
	}
	actual, err := hex.DecodeString(a.KeyProvider.ID)
	if a.KeyProvider.Name != providerKMS || err != nil || !bytes.Equal(actual, id) {
		return bylaw.Refuse(bylaw.RuleKeyProvider, "its keys come from %q %s, not from the KMS %x",
			a.KeyProvider.Name, a.KeyProvider.ID, id)
	}
	return nil
}
