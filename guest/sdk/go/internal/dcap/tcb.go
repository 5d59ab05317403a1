package dcap

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-tdx-guest/pcs"
)

const (
	upToDate                   = pcs.TcbComponentStatusUpToDate
	outOfDate                  = pcs.TcbComponentStatusOutOfDate
	outOfDateConfiguration     = pcs.TcbComponentStatusOutOfDateConfigurationNeeded
	configurationNeeded        = pcs.TcbComponentStatusConfigurationNeeded
	hardeningNeeded            = pcs.TcbComponentStatusSwHardeningNeeded
	configurationAndHardening  = pcs.TcbComponentStatusConfigurationAndSWHardeningNeeded
	statusRevoked              = pcs.TcbComponentStatusRevoked
	relaunchAdvised            = pcs.TcbComponentStatus("TDRelaunchAdvised")
	relaunchAdvisedConfigure   = pcs.TcbComponentStatus("TDRelaunchAdvisedConfigurationNeeded")
	sgxComponents              = 16
	moduleVersion, moduleSVN   = 1, 0
	componentsJudgedByIdentity = 2
	enclaveDebug               = 1 << 1
)

// verdict is a TCB status and the advisories that go with it.
type verdict struct {
	status     pcs.TcbComponentStatus
	advisories []string
}

// judge evaluates platform, TDX module and quoting enclave by Intel's rules.
func judge(a *Authenticated, info *pcs.TcbInfo, identity *pcs.EnclaveIdentity) (verdict, error) {
	enclave, err := judgeEnclave(a.qe, identity)
	if err != nil {
		return verdict{}, fault(FaultQuote, "the quoting enclave: %w", err)
	}
	if !strings.EqualFold(info.Fmspc, a.Platform.extensions.FMSPC) ||
		!strings.EqualFold(info.PceID, a.Platform.extensions.PCEID) {
		return verdict{}, fault(FaultCollateral, "TCB info is about platform %s (PCE %s), the quote is from %s (PCE %s)",
			info.Fmspc, info.PceID, a.Platform.extensions.FMSPC, a.Platform.extensions.PCEID)
	}
	report := &a.quote.Report
	if err := checkModule(info, report); err != nil {
		return verdict{}, fault(FaultQuote, "the TDX module: %w", err)
	}
	levels := sorted(info.TcbLevels)
	launched, err := judgePlatform(info, levels, a.Platform.extensions, report.TEETCBSVN)
	if err != nil {
		return verdict{}, fault(FaultCollateral, "TCB info: %w", err)
	}
	final := launched.converge(enclave)
	if report.TD15 != nil {
		// The module may have been updated under the running TD: that state must be
		// appraisable too, and it decides whether launching again would help.
		current, err := judgePlatform(info, levels, a.Platform.extensions, report.TD15.TEETCBSVN2)
		if err != nil {
			return verdict{}, fault(FaultCollateral, "TCB info: %w", err)
		}
		current = current.converge(enclave)
		if current.status == statusRevoked {
			final.status = statusRevoked
		}
		final.status = adviseRelaunch(final.status, current.status)
	}
	if final.status == statusRevoked {
		return verdict{}, fault(FaultRevoked, "the vendor revoked this platform's TCB")
	}
	return final, nil
}

// sorted orders levels as Intel's library does, highest first, whatever the JSON's order.
func sorted(levels []pcs.TcbLevel) []pcs.TcbLevel {
	compare := func(a, b []pcs.TcbComponent) int {
		return slices.CompareFunc(b, a, func(x, y pcs.TcbComponent) int { return int(x.Svn) - int(y.Svn) })
	}
	ordered := slices.Clone(levels)
	slices.SortStableFunc(ordered, func(a, b pcs.TcbLevel) int {
		if order := compare(a.Tcb.SgxTcbcomponents, b.Tcb.SgxTcbcomponents); order != 0 {
			return order
		}
		if order := int(b.Tcb.Pcesvn) - int(a.Tcb.Pcesvn); order != 0 {
			return order
		}
		return compare(a.Tcb.TdxTcbcomponents, b.Tcb.TdxTcbcomponents)
	})
	return ordered
}

// judgePlatform finds the first level that platform and module reach.
func judgePlatform(
	info *pcs.TcbInfo, levels []pcs.TcbLevel, pck *pcs.PckExtensions, tee [16]byte,
) (verdict, error) {
	for _, level := range levels {
		reached, err := reaches(level.Tcb, pck, tee)
		if err != nil {
			return verdict{}, err
		}
		if !reached {
			continue
		}
		platform := verdict{status: level.TcbStatus, advisories: slices.Clone(level.AdvisoryIDs)}
		module, err := judgeModule(info, tee)
		if err != nil || module == nil {
			return platform, err
		}
		return platform.converge(*module), nil
	}
	return verdict{}, fmt.Errorf("the platform reaches none of the levels")
}

func reaches(needed pcs.Tcb, pck *pcs.PckExtensions, tee [16]byte) (bool, error) {
	if len(needed.SgxTcbcomponents) != sgxComponents || len(needed.TdxTcbcomponents) != len(tee) {
		return false, fmt.Errorf("a level has %d SGX and %d TDX components, not %d each",
			len(needed.SgxTcbcomponents), len(needed.TdxTcbcomponents), sgxComponents)
	}
	for index, component := range needed.SgxTcbcomponents {
		if pck.TCB.CPUSvnComponents[index] < component.Svn {
			return false, nil
		}
	}
	if pck.TCB.PCESvn < needed.Pcesvn {
		return false, nil
	}
	first := 0
	if tee[moduleVersion] > 0 {
		first = componentsJudgedByIdentity
	}
	for index := first; index < len(tee); index++ {
		if tee[index] < needed.TdxTcbcomponents[index].Svn {
			return false, nil
		}
	}
	return true, nil
}

// moduleIdentity is the vendor's statement about this version of the TDX module; modules
// of version 0 have none.
func moduleIdentity(info *pcs.TcbInfo, tee [16]byte) (*pcs.TdxModuleIdentity, error) {
	if tee[moduleVersion] == 0 {
		return nil, nil
	}
	wanted := fmt.Sprintf("TDX_%02x", tee[moduleVersion])
	for index := range info.TdxModuleIdentities {
		if strings.EqualFold(info.TdxModuleIdentities[index].ID, wanted) {
			return &info.TdxModuleIdentities[index], nil
		}
	}
	return nil, fmt.Errorf("TCB info does not know module %s", wanted)
}

func judgeModule(info *pcs.TcbInfo, tee [16]byte) (*verdict, error) {
	identity, err := moduleIdentity(info, tee)
	if err != nil || identity == nil {
		return nil, err
	}
	for _, level := range identity.TcbLevels {
		if uint32(tee[moduleSVN]) >= level.Tcb.Isvsvn {
			module, err := component(level)
			return &module, err
		}
	}
	return nil, fmt.Errorf("module %s of SVN %d is below every level", identity.ID, tee[moduleSVN])
}

// checkModule compares the module's signer and attributes with the vendor's statement.
func checkModule(info *pcs.TcbInfo, report *Report) error {
	signer, attributes, mask := info.TdxModule.Mrsigner, info.TdxModule.Attributes, info.TdxModule.AttributesMask
	identity, err := moduleIdentity(info, report.TEETCBSVN)
	if err != nil {
		return err
	}
	if identity != nil {
		signer, attributes, mask = identity.Mrsigner, identity.Attributes, identity.AttributesMask
	}
	if !bytes.Equal(signer.Bytes, report.MRSignerSEAM[:]) {
		return fmt.Errorf("it has another signer than the vendor states")
	}
	actual := report.SEAMAttributes[:]
	if !maskedEqual(actual, attributes.Bytes, mask.Bytes) {
		return fmt.Errorf("its attributes are %x, not %x under mask %x", actual, attributes.Bytes, mask.Bytes)
	}
	for index := range actual {
		if actual[index]&^mask.Bytes[index] != 0 {
			return fmt.Errorf("its attributes %x have bits outside mask %x", actual, mask.Bytes)
		}
	}
	return nil
}

// judgeEnclave compares the quoting enclave with the vendor's statement about it.
func judgeEnclave(report enclaveReport, identity *pcs.EnclaveIdentity) (verdict, error) {
	switch {
	case report.attributes[0]&enclaveDebug != 0:
		return verdict{}, fmt.Errorf("it runs in debug mode")
	case !maskedEqual(report.miscSelect, identity.Miscselect.Bytes, identity.MiscselectMask.Bytes):
		return verdict{}, fmt.Errorf("its MISCSELECT is not what the vendor states")
	case !maskedEqual(report.attributes, identity.Attributes.Bytes, identity.AttributesMask.Bytes):
		return verdict{}, fmt.Errorf("its attributes are not what the vendor states")
	case !bytes.Equal(report.mrSigner, identity.Mrsigner.Bytes):
		return verdict{}, fmt.Errorf("it has another signer than the vendor states")
	case report.isvProdID != identity.IsvProdID:
		return verdict{}, fmt.Errorf("it is product %d, not %d", report.isvProdID, identity.IsvProdID)
	}
	levels := slices.Clone(identity.TcbLevels)
	slices.SortStableFunc(levels, func(a, b pcs.TcbLevel) int {
		return int(int64(b.Tcb.Isvsvn) - int64(a.Tcb.Isvsvn))
	})
	for _, level := range levels {
		if uint32(report.isvSVN) >= level.Tcb.Isvsvn {
			return component(level)
		}
	}
	return verdict{}, fmt.Errorf("its SVN %d is below every level", report.isvSVN)
}

// component reads a level of the module or the quoting enclave, which have fewer states
// than platforms.
func component(level pcs.TcbLevel) (verdict, error) {
	switch level.TcbStatus {
	case upToDate, outOfDate, statusRevoked:
		return verdict{status: level.TcbStatus, advisories: level.AdvisoryIDs}, nil
	default:
		return verdict{}, fmt.Errorf("status %s is none that a component has", level.TcbStatus)
	}
}

func maskedEqual(actual, wanted, mask []byte) bool {
	if len(actual) != len(wanted) || len(actual) != len(mask) {
		return false
	}
	for index := range actual {
		if actual[index]&mask[index] != wanted[index]&mask[index] {
			return false
		}
	}
	return true
}

// converge lets a component make a platform's status worse: revoked or out of date.
func (v verdict) converge(component verdict) verdict {
	merged := verdict{status: v.status, advisories: slices.Clone(v.advisories)}
	for _, advisory := range component.advisories {
		if !slices.Contains(merged.advisories, advisory) {
			merged.advisories = append(merged.advisories, advisory)
		}
	}
	switch component.status {
	case statusRevoked:
		merged.status = statusRevoked
	case outOfDate:
		switch v.status {
		case upToDate, hardeningNeeded:
			merged.status = outOfDate
		case configurationNeeded, configurationAndHardening:
			merged.status = outOfDateConfiguration
		}
	}
	return merged
}

// adviseRelaunch names the state of a TD that was launched out of date on a platform that
// no longer is.
func adviseRelaunch(launched, current pcs.TcbComponentStatus) pcs.TcbComponentStatus {
	outdated := launched == outOfDate || launched == outOfDateConfiguration
	switch current {
	case upToDate, hardeningNeeded, configurationNeeded, configurationAndHardening:
	default:
		outdated = false
	}
	if !outdated {
		return launched
	}
	if launched == outOfDateConfiguration || current == configurationNeeded || current == configurationAndHardening {
		return relaunchAdvisedConfigure
	}
	return relaunchAdvised
}
