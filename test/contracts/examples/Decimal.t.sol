// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Decimal} from "../../../contracts/examples/Decimal.sol";
import {vm} from "./support/ExampleTest.sol";

contract DecimalTest {
    bool public constant IS_TEST = true;

    function testFuzz_decimal(uint256 value, uint8 shift) public pure {
        value >>= shift;
        vm.assertEq(Decimal.append("at ", value), string.concat("at ", vm.toString(value)));
    }

    function test_decimal_ends() public pure {
        vm.assertEq(Decimal.append("", 0), "0");
        vm.assertEq(Decimal.append("", type(uint256).max), vm.toString(type(uint256).max));
    }
}
