// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {AppPolicies, AppPolicy, TcbStatuses} from "../../../contracts/governance/AppPolicies.sol";

/// @dev The order of policies, proved for every two.
contract PoliciesSymbolic {
    using AppPolicies for AppPolicy;

    /// @dev In every demand, what both are met by is as strict as either.
    function check_meetIsALowerBound(AppPolicy memory a, AppPolicy memory b) public pure {
        AppPolicy memory both = a.meet(b);
        assert(!both.allowAnyDevice || (a.allowAnyDevice && b.allowAnyDevice));
        assert(both.teeVariants | a.teeVariants == a.teeVariants);
        assert(both.teeVariants | b.teeVariants == b.teeVariants);
        assert(both.tcbStatuses | a.tcbStatuses == a.tcbStatuses);
        assert(both.tcbStatuses | b.tcbStatuses == b.tcbStatuses);
        assert(both.tcbGracePeriod <= a.tcbGracePeriod && both.tcbGracePeriod <= b.tcbGracePeriod);
        assert(!both.anyAdvisory || (a.anyAdvisory && b.anyAdvisory));
        assert(a.maxStateAge == 0 || (both.maxStateAge != 0 && both.maxStateAge <= a.maxStateAge));
        assert(b.maxStateAge == 0 || (both.maxStateAge != 0 && both.maxStateAge <= b.maxStateAge));
        assert(both.requireGpu == (a.requireGpu || b.requireGpu));
    }

    function check_meetIsIdempotent(AppPolicy memory a) public pure {
        assert(a.meet(a).pack() == a.pack());
    }

    function check_meetIsCommutative(AppPolicy memory a, AppPolicy memory b) public pure {
        assert(keccak256(abi.encode(a.meet(b))) == keccak256(abi.encode(b.meet(a))));
    }

    function check_unpackIsTheInverseOfPack(AppPolicy memory a) public pure {
        AppPolicy memory same = AppPolicies.unpack(a.pack());
        assert(same.allowAnyDevice == a.allowAnyDevice);
        assert(same.teeVariants == a.teeVariants);
        assert(same.tcbStatuses == a.tcbStatuses);
        assert(same.tcbGracePeriod == a.tcbGracePeriod);
        assert(same.anyAdvisory == a.anyAdvisory);
        assert(same.maxStateAge == a.maxStateAge);
        assert(same.requireGpu == a.requireGpu);
    }

    function check_packTellsPoliciesApart(AppPolicy memory a, AppPolicy memory b) public pure {
        bool same = keccak256(abi.encode(a)) == keccak256(abi.encode(b));
        assert(a.equals(b) == same);
    }

    /// @custom:halmos --array-lengths status={0,8,9,13,32,33}
    function check_statusIsOneBit(string memory status) public pure {
        uint256 bit = TcbStatuses.bitOf(status);
        assert(bit != 0 && bit & (bit - 1) == 0);
    }
}
