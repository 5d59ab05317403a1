/** Intel's algorithm, case by case, over documents that nobody signed. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { LevelStatus } from '../src/tdx/collateral-documents.js';
import { parseQeIdentity, parseTcbInfo } from '../src/tdx/collateral-documents.js';
import type { QeReport, TdReport } from '../src/tdx/quote.js';
import { checkTd, judgeQe, judgeTcb } from '../src/tdx/tcb.js';

const ZERO_48 = '00'.repeat(48);
const MODULE = { mrsigner: ZERO_48, attributes: '00'.repeat(8), attributesMask: 'FF'.repeat(8) };

const components = (...svns: number[]) =>
  Array.from({ length: 16 }, (_, index) => ({ svn: svns[index] ?? 0 }));
const level = (
  sgx: number,
  tdx: number[],
  pcesvn: number,
  tcbStatus: string,
  advisoryIDs: string[] = [],
) => ({
  tcb: { sgxtcbcomponents: components(sgx), tdxtcbcomponents: components(...tdx), pcesvn },
  tcbDate: '2024-01-01T00:00:00Z',
  tcbStatus,
  advisoryIDs,
});
const svnLevel = (isvsvn: number, tcbStatus: string, advisoryIDs: string[] = []) => ({
  tcb: { isvsvn },
  tcbDate: '2024-01-01T00:00:00Z',
  tcbStatus,
  advisoryIDs,
});

const INFO = {
  id: 'TDX',
  version: 3,
  issueDate: '2026-01-01T00:00:00Z',
  nextUpdate: '2026-02-01T00:00:00Z',
  fmspc: '00'.repeat(6),
  pceId: '0000',
  tdxModule: MODULE,
  tdxModuleIdentities: [
    {
      ...MODULE,
      id: 'TDX_03',
      tcbLevels: [svnLevel(5, 'UpToDate'), svnLevel(3, 'OutOfDate', ['INTEL-MODULE'])],
    },
  ],
  // Not in order on purpose.
  tcbLevels: [
    level(1, [1, 0, 1], 5, 'OutOfDate', ['INTEL-OLD']),
    level(3, [5, 0, 3], 11, 'UpToDate'),
    level(2, [5, 0, 2], 11, 'SWHardeningNeeded', ['INTEL-SW']),
    level(2, [5, 0, 2], 9, 'ConfigurationNeeded'),
    level(0, [0, 0, 0], 1, 'Revoked'),
  ],
};

function svn(...values: number[]): Uint8Array {
  return Uint8Array.from({ length: 16 }, (_, index) => values[index] ?? 0);
}

const REPORT: TdReport = {
  teeTcbSvn: svn(5, 0, 3),
  mrSeam: new Uint8Array(48),
  mrSignerSeam: new Uint8Array(48),
  seamAttributes: new Uint8Array(8),
  // SEPT_VE_DISABLE.
  tdAttributes: Uint8Array.of(0, 0, 0, 0x10, 0, 0, 0, 0),
  mrTd: new Uint8Array(48),
  mrConfigId: new Uint8Array(48),
  mrOwner: new Uint8Array(48),
  mrOwnerConfig: new Uint8Array(48),
  rtmr: [new Uint8Array(48), new Uint8Array(48), new Uint8Array(48), new Uint8Array(48)],
  reportData: new Uint8Array(64),
};
const UP_TO_DATE = { status: 'UpToDate', advisoryIds: [] } as const;

function judge(
  platform: { sgx: number; pce: number; tee: Uint8Array; tee2?: Uint8Array },
  qe: { status: LevelStatus; advisoryIds: readonly string[] } = UP_TO_DATE,
  info: object = INFO,
) {
  const pck = {
    ppid: new Uint8Array(16),
    cpuSvn: svn(platform.sgx),
    pceSvn: platform.pce,
    pceId: new Uint8Array(2),
    fmspc: new Uint8Array(6),
  };
  const report: TdReport = {
    ...REPORT,
    teeTcbSvn: platform.tee,
    ...(platform.tee2 && { td15: { teeTcbSvn2: platform.tee2, mrServiceTd: new Uint8Array(48) } }),
  };
  return judgeTcb(parseTcbInfo(JSON.stringify(info)), qe, pck, report);
}

describe('levels', () => {
  test('the highest that every component reaches counts, whatever the order', () => {
    assert.deepEqual(judge({ sgx: 3, pce: 11, tee: svn(5, 0, 3) }), { status: 'UpToDate', advisoryIds: [] });
    assert.deepEqual(judge({ sgx: 2, pce: 11, tee: svn(5, 0, 3) }), {
      status: 'SWHardeningNeeded',
      advisoryIds: ['INTEL-SW'],
    });
    assert.equal(judge({ sgx: 3, pce: 10, tee: svn(5, 0, 3) }).status, 'ConfigurationNeeded');
    assert.equal(judge({ sgx: 3, pce: 11, tee: svn(4, 0, 3) }).status, 'OutOfDate');
    assert.equal(judge({ sgx: 0, pce: 11, tee: svn(5, 0, 3) }).status, 'Revoked');
  });

  test('below every level there is no verdict', () => {
    assert.throws(() => judge({ sgx: 3, pce: 0, tee: svn(5, 0, 3) }), /below every level/);
  });

  test('a module with an identity is judged by it, not by components 0 and 1', () => {
    assert.equal(judge({ sgx: 3, pce: 11, tee: svn(5, 3, 3) }).status, 'UpToDate');
    assert.deepEqual(judge({ sgx: 3, pce: 11, tee: svn(3, 3, 3) }), {
      status: 'OutOfDate',
      advisoryIds: ['INTEL-MODULE'],
    });
    assert.equal(judge({ sgx: 3, pce: 10, tee: svn(3, 3, 3) }).status, 'OutOfDateConfigurationNeeded');
    assert.throws(() => judge({ sgx: 3, pce: 11, tee: svn(2, 3, 3) }), /below every level/);
    assert.throws(() => judge({ sgx: 3, pce: 11, tee: svn(5, 4, 3) }), /TDX_04/);
  });

  test('the quoting enclave counts only when it is out of date or revoked', () => {
    const best = { sgx: 3, pce: 11, tee: svn(5, 0, 3) };
    const qe = (status: LevelStatus) => ({ status, advisoryIds: ['INTEL-QE'] });
    assert.deepEqual(judge(best, qe('OutOfDate')), { status: 'OutOfDate', advisoryIds: ['INTEL-QE'] });
    assert.equal(judge(best, qe('Revoked')).status, 'Revoked');
    assert.equal(judge(best, qe('ConfigurationNeeded')).status, 'UpToDate');
    assert.equal(judge({ ...best, sgx: 2 }, qe('OutOfDate')).status, 'OutOfDate');
    assert.equal(judge({ ...best, pce: 10 }, qe('OutOfDate')).status, 'OutOfDateConfigurationNeeded');
    assert.equal(judge({ ...best, sgx: 0 }, qe('OutOfDate')).status, 'Revoked');
  });

  test('of a module updated beneath its TD', () => {
    const platform = { sgx: 3, pce: 11 };
    const old = svn(4, 0, 3);
    const today = svn(5, 0, 3);
    assert.equal(judge({ ...platform, tee: today, tee2: today }).status, 'UpToDate');
    assert.equal(judge({ ...platform, tee: old, tee2: today }).status, 'TDRelaunchAdvised');
    assert.equal(judge({ ...platform, tee: old, tee2: old }).status, 'OutOfDate');
    assert.equal(
      judge({ sgx: 3, pce: 10, tee: old, tee2: today }).status,
      'TDRelaunchAdvisedConfigurationNeeded',
    );
    assert.equal(judge({ ...platform, tee: today, tee2: svn(0, 0, 0) }).status, 'Revoked');
    assert.throws(() => judge({ ...platform, tee: today, tee2: svn(5, 4, 3) }), /TDX_04/);
  });
});

describe('TDX modules', () => {
  const best = { sgx: 3, pce: 11, tee: svn(5, 0, 3) };
  for (const [what, tdxModule] of [
    ['another signer', { ...MODULE, mrsigner: '11'.repeat(48) }],
    ['missing attributes', { ...MODULE, attributes: '0100000000000000' }],
  ] as const) {
    test(`with ${what} are refused`, () => {
      assert.throws(() => judge(best, UP_TO_DATE, { ...INFO, tdxModule }), /TDX module/);
    });
  }

  test('with attributes outside the mask are refused', () => {
    const info = parseTcbInfo(
      JSON.stringify({ ...INFO, tdxModule: { ...MODULE, attributesMask: '00'.repeat(8) } }),
    );
    const report = { ...REPORT, seamAttributes: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0) };
    const pck = { ppid: svn(), cpuSvn: svn(3), pceSvn: 11, pceId: svn(), fmspc: svn() };
    assert.throws(() => judgeTcb(info, UP_TO_DATE, pck, report), /does not know/);
  });
});

describe('documents that are not what they must be', () => {
  const cases: [string, object][] = [
    ['for SGX', { ...INFO, id: 'SGX' }],
    ['of version 2', { ...INFO, version: 2 }],
    ['without a module', { ...INFO, tdxModule: undefined }],
    [
      'with 15 components',
      {
        ...INFO,
        tcbLevels: [
          {
            ...level(1, [], 1, 'UpToDate'),
            tcb: { sgxtcbcomponents: components().slice(1), tdxtcbcomponents: components(), pcesvn: 1 },
          },
        ],
      },
    ],
    ['with an unknown status', { ...INFO, tcbLevels: [level(1, [], 1, 'Fine')] }],
    ['with a negative SVN', { ...INFO, tcbLevels: [level(-1, [], 1, 'UpToDate')] }],
    [
      'with an SVN that is text',
      { ...INFO, tcbLevels: [{ ...level(1, [], 1, 'UpToDate'), tcb: { sgxtcbcomponents: [{ svn: '1' }] } }] },
    ],
    ['with a date of another form', { ...INFO, nextUpdate: '2026-02-01' }],
    ['with a date there is none of', { ...INFO, nextUpdate: '2026-13-01T00:00:00Z' }],
  ];
  for (const [what, info] of cases) {
    test(`TCB info ${what}`, () => {
      assert.throws(() => parseTcbInfo(JSON.stringify(info)), Error);
    });
  }
});

describe('the quoting enclave', () => {
  const IDENTITY = {
    id: 'TD_QE',
    version: 2,
    issueDate: '2026-01-01T00:00:00Z',
    nextUpdate: '2026-02-01T00:00:00Z',
    miscselect: '01000000',
    miscselectMask: 'FF000000',
    attributes: `11${'00'.repeat(15)}`,
    attributesMask: `F9${'FF'.repeat(15)}`,
    mrsigner: '22'.repeat(32),
    isvprodid: 2,
    tcbLevels: [svnLevel(2, 'OutOfDate', ['INTEL-QE']), svnLevel(4, 'UpToDate')],
  };
  const QE: QeReport = {
    bytes: new Uint8Array(384),
    miscSelect: Uint8Array.of(1, 9, 9, 9),
    attributes: Uint8Array.of(0x11, ...new Uint8Array(15)),
    mrSigner: new Uint8Array(32).fill(0x22),
    isvProdId: 2,
    isvSvn: 4,
    reportData: new Uint8Array(64),
  };
  const judged = (changes: Partial<QeReport> = {}) =>
    judgeQe(parseQeIdentity(JSON.stringify(IDENTITY)), { ...QE, ...changes });

  test('as its identity describes it', () => {
    assert.equal(judged().status, 'UpToDate');
    assert.equal(judged({ isvSvn: 9 }).status, 'UpToDate');
    assert.deepEqual(judged({ isvSvn: 3 }).advisoryIds, ['INTEL-QE']);
  });

  for (const [what, changes, reason] of [
    ['another signer', { mrSigner: new Uint8Array(32) }, /signer/],
    ['another product', { isvProdId: 1 }, /product/],
    ['another MISCSELECT', { miscSelect: new Uint8Array(4) }, /MISCSELECT/],
    ['other attributes', { attributes: new Uint8Array(16) }, /attributes/],
    [
      'debug mode, though the mask lets it pass',
      { attributes: Uint8Array.of(0x13, ...new Uint8Array(15)) },
      /debug/,
    ],
    ['too low an SVN', { isvSvn: 1 }, /below/],
  ] as const) {
    test(`with ${what} is refused`, () => {
      assert.throws(() => judged(changes), reason);
    });
  }

  for (const [what, changes] of [
    ['of SGX', { id: 'QE' }],
    ['of version 4', { version: 4 }],
    ['with a short mask', { attributesMask: 'FF' }],
    ['without levels', { tcbLevels: undefined }],
  ] as const) {
    test(`an identity ${what} is refused`, () => {
      assert.throws(() => parseQeIdentity(JSON.stringify({ ...IDENTITY, ...changes })), Error);
    });
  }
});

describe('what is never policy', () => {
  test('an ordinary TD passes', () => checkTd(REPORT));

  for (const [what, report, reason] of [
    ['profiled', { tdAttributes: Uint8Array.of(0x10, 0, 0, 0x10, 0, 0, 0, 0) }, /profiled/],
    ['migratable', { tdAttributes: Uint8Array.of(0, 0, 0, 0x30, 0, 0, 0, 0) }, /migrated/],
    ['with SERVTD_EXT', { tdAttributes: Uint8Array.of(0, 0, 2, 0x10, 0, 0, 0, 0) }, /not allowed/],
    ['with a reserved bit', { tdAttributes: Uint8Array.of(0, 0, 0, 0x10, 1, 0, 0, 0) }, /not allowed/],
    ['without SEPT_VE_DISABLE', { tdAttributes: new Uint8Array(8) }, /SEPT_VE_DISABLE/],
    ['on a foreign module', { mrSignerSeam: new Uint8Array(48).fill(1) }, /MRSIGNERSEAM/],
    [
      'bound to a service TD',
      { td15: { teeTcbSvn2: svn(), mrServiceTd: new Uint8Array(48).fill(1) } },
      /MRSERVICETD/,
    ],
  ] as const) {
    test(`a TD ${what} is refused`, () => {
      assert.throws(() => checkTd({ ...REPORT, ...report }), reason);
    });
  }
});
