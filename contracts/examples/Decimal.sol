// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title Numbers in reasons that a person reads
/// @dev OpenZeppelin's `Strings` does this too, but needs an EVM that has MCOPY.
library Decimal {
    /// @notice Appends a number to a text.
    /// @param prefix The text.
    /// @param value The number; written in base 10 without leading zeros.
    /// @return The text, then the number.
    function append(string memory prefix, uint256 value) internal pure returns (string memory) {
        bytes memory digits = new bytes(78); // 2**256 - 1 has 78 digits
        uint256 start = digits.length;
        do {
            // forge-lint: disable-next-line(unsafe-typecast)
            digits[--start] = bytes1(uint8(48 + value % 10));
            value /= 10;
        } while (value != 0);

        bytes memory shown = new bytes(digits.length - start);
        for (uint256 i = 0; i < shown.length; ++i) {
            shown[i] = digits[start + i];
        }
        return string.concat(prefix, string(shown));
    }
}
