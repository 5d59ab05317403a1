package dcap

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-tdx-guest/pcs"
)

func TestConverge(t *testing.T) {
	for _, c := range []struct{ platform, component, want pcs.TcbComponentStatus }{
		{upToDate, upToDate, upToDate},
		{hardeningNeeded, upToDate, hardeningNeeded},
		{upToDate, outOfDate, outOfDate},
		{hardeningNeeded, outOfDate, outOfDate},
		{configurationNeeded, outOfDate, outOfDateConfiguration},
		{configurationAndHardening, outOfDate, outOfDateConfiguration},
		{outOfDateConfiguration, outOfDate, outOfDateConfiguration},
		{outOfDate, upToDate, outOfDate},
		{upToDate, statusRevoked, statusRevoked},
		{outOfDate, statusRevoked, statusRevoked},
	} {
		merged := verdict{c.platform, []string{"a", "b"}}.converge(verdict{c.component, []string{"b", "c"}})
		if merged.status != c.want || !slices.Equal(merged.advisories, []string{"a", "b", "c"}) {
			t.Errorf("%s with %s is %+v", c.platform, c.component, merged)
		}
	}
}

func TestRelaunch(t *testing.T) {
	for _, c := range []struct{ launched, current, want pcs.TcbComponentStatus }{
		{upToDate, upToDate, upToDate},
		{outOfDate, outOfDate, outOfDate},
		{outOfDate, upToDate, relaunchAdvised},
		{outOfDate, hardeningNeeded, relaunchAdvised},
		{outOfDate, configurationNeeded, relaunchAdvisedConfigure},
		{outOfDateConfiguration, upToDate, relaunchAdvisedConfigure},
		{upToDate, outOfDate, upToDate},
	} {
		if got := adviseRelaunch(c.launched, c.current); got != c.want {
			t.Errorf("launched %s, now %s is %s", c.launched, c.current, got)
		}
	}
}

func components(svn byte) []pcs.TcbComponent {
	return slices.Repeat([]pcs.TcbComponent{{Svn: svn}}, 16)
}

func platformOf(svn byte, pce uint16) *pcs.PckExtensions {
	return &pcs.PckExtensions{TCB: pcs.PckCertTCB{
		PCESvn: pce, CPUSvnComponents: slices.Repeat([]byte{svn}, 16),
	}}
}

func TestLevels(t *testing.T) {
	level := func(svn byte, pce uint16, status pcs.TcbComponentStatus) pcs.TcbLevel {
		return pcs.TcbLevel{
			Tcb:       pcs.Tcb{SgxTcbcomponents: components(svn), TdxTcbcomponents: components(svn), Pcesvn: pce},
			TcbStatus: status,
		}
	}
	// Out of order on purpose.
	info := &pcs.TcbInfo{
		TcbLevels: []pcs.TcbLevel{level(1, 1, outOfDate), level(3, 3, upToDate), level(2, 2, hardeningNeeded)},
		TdxModuleIdentities: []pcs.TdxModuleIdentity{{
			ID: "TDX_01",
			TcbLevels: []pcs.TcbLevel{
				{Tcb: pcs.Tcb{Isvsvn: 4}, TcbStatus: upToDate},
				{Tcb: pcs.Tcb{Isvsvn: 2}, TcbStatus: outOfDate, AdvisoryIDs: []string{"m"}},
			},
		}},
	}
	tee := func(svn byte, module ...byte) (tee [16]byte) {
		copy(tee[:], slices.Repeat([]byte{svn}, 16))
		tee[1] = 0
		copy(tee[:], module)
		return tee
	}
	for name, c := range map[string]struct {
		svn  byte
		pce  uint16
		tee  [16]byte
		want pcs.TcbComponentStatus
	}{
		"module counts beside the others": {3, 3, tee(3, 4, 1), upToDate},
		"old module":                      {3, 3, tee(3, 3, 1), outOfDate},
		"old module, hardening":           {2, 2, tee(2, 3, 1), outOfDate},
		"old microcode":                   {2, 3, tee(3, 4, 1), hardeningNeeded},
		"old PCE":                         {3, 1, tee(3, 4, 1), outOfDate},
		"old TDX component":               {3, 3, tee(1, 4, 1), outOfDate},
	} {
		got, err := judgePlatform(info, sorted(info.TcbLevels), platformOf(c.svn, c.pce), c.tee)
		if err != nil || got.status != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, c := range map[string]struct {
		svn byte
		tee [16]byte
	}{
		"below every level":  {0, tee(3, 4, 1)},
		"unknown module":     {3, tee(3, 4, 2)},
		"module below all":   {3, tee(3, 1, 1)},
		"TDX version 0, old": {3, tee(0)},
	} {
		if got, err := judgePlatform(info, sorted(info.TcbLevels), platformOf(c.svn, 3), c.tee); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	short := &pcs.TcbInfo{TcbLevels: []pcs.TcbLevel{{Tcb: pcs.Tcb{SgxTcbcomponents: components(0)[:15]}}}}
	if _, err := judgePlatform(short, short.TcbLevels, platformOf(3, 3), tee(3, 4, 1)); err == nil {
		t.Error("a level of 15 components is accepted")
	}
}

func TestEnclave(t *testing.T) {
	var identity pcs.EnclaveIdentity
	const text = `{"miscselect":"00000000","miscselectMask":"FFFFFFFF",
		"attributes":"11000000000000000000000000000000","attributesMask":"FBFFFFFFFFFFFFFF0000000000000000",
		"mrsigner":"5151515151515151515151515151515151515151515151515151515151515151","isvprodid":2,
		"tcbLevels":[{"tcb":{"isvsvn":4},"tcbStatus":"UpToDate"},{"tcb":{"isvsvn":2},"tcbStatus":"OutOfDate"}]}`
	if err := json.Unmarshal([]byte(text), &identity); err != nil {
		t.Fatal(err)
	}
	good := func() enclaveReport {
		return enclaveReport{
			miscSelect: make([]byte, 4),
			attributes: append([]byte{0x15}, append(make([]byte, 14), 0xff)...),
			mrSigner:   slices.Repeat([]byte{0x51}, 32),
			isvProdID:  2,
			isvSVN:     5,
		}
	}
	if got, err := judgeEnclave(good(), &identity); err != nil || got.status != upToDate {
		t.Errorf("%+v, %v", got, err)
	}
	old := good()
	old.isvSVN = 3
	if got, err := judgeEnclave(old, &identity); err != nil || got.status != outOfDate {
		t.Errorf("%+v, %v", got, err)
	}
	for name, change := range map[string]func(*enclaveReport){
		"debug":             func(r *enclaveReport) { r.attributes[0] |= 2 },
		"another attribute": func(r *enclaveReport) { r.attributes[1] |= 1 },
		"MISCSELECT":        func(r *enclaveReport) { r.miscSelect[0] = 1 },
		"another signer":    func(r *enclaveReport) { r.mrSigner[0] = 0 },
		"another product":   func(r *enclaveReport) { r.isvProdID = 1 },
		"below every level": func(r *enclaveReport) { r.isvSVN = 1 },
	} {
		report := good()
		change(&report)
		if _, err := judgeEnclave(report, &identity); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	identity.TcbLevels[0].TcbStatus = hardeningNeeded
	if _, err := judgeEnclave(good(), &identity); err == nil {
		t.Error("a status that enclaves do not have is accepted")
	}
}
