// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Votes} from "@openzeppelin/contracts/governance/utils/Votes.sol";
import {IERC5805} from "@openzeppelin/contracts/interfaces/IERC5805.sol";

import {TokenVoteApp} from "../../../contracts/examples/TokenVoteApp.sol";
import {ExampleTest, vm} from "./support/ExampleTest.sol";
import {VotesToken} from "./support/VotesToken.sol";

contract TokenVoteAppTest is ExampleTest {
    string private constant NOT_IN = "Compose hash was not voted in";
    string private constant OUT = "Compose hash was voted out";
    string private constant NOTE = "ipfs://note";

    address private constant ALICE = address(0xA11CE);
    address private constant BOB = address(0xB0B);
    address private constant CAROL = address(0xCA401);

    uint256 private constant THRESHOLD = 10 ether;
    uint32 private constant PERIOD = 100; // blocks
    uint16 private constant QUORUM = 2500; // a quarter
    uint32 private constant NOTICE = 2 days;

    VotesToken private token;
    TokenVoteApp private app;

    function setUp() public override {
        super.setUp();
        token = new VotesToken(false);
        _give(ALICE, 300 ether);
        _give(BOB, 200 ether);
        _give(CAROL, THRESHOLD);
        token.mint(STRANGER, 490 ether); // never delegated: in the supply, no votes
        _blocks(1);
        app = new TokenVoteApp(token, THRESHOLD, PERIOD, QUORUM, NOTICE);
        kms.registerApp(address(app));
    }

    // ------------------------------------------------------------ set-up

    function test_parameters_are_readable() public view {
        vm.assertEq(address(app.token()), address(token));
        vm.assertEq(app.proposalThreshold(), THRESHOLD);
        vm.assertEq(app.votingPeriod(), PERIOD);
        vm.assertEq(app.quorumNumerator(), QUORUM);
        vm.assertEq(app.QUORUM_DENOMINATOR(), 10_000);
        vm.assertEq(app.notice(), NOTICE);
        vm.assertEq(app.proposalCount(), 0);
    }

    function test_interfaces() public view {
        _assertInterfaces(address(app));
    }

    function testFuzz_constructor_refuses_what_cannot_work(uint16 quorum) public {
        vm.expectRevert(TokenVoteApp.InvalidParameters.selector);
        new TokenVoteApp(token, THRESHOLD, 0, QUORUM, NOTICE);
        bool valid = quorum > 0 && quorum <= 10_000;
        if (!valid) vm.expectRevert(TokenVoteApp.InvalidParameters.selector);
        new TokenVoteApp(token, THRESHOLD, PERIOD, quorum, NOTICE);
        vm.expectRevert(TokenVoteApp.InvalidParameters.selector);
        new TokenVoteApp(token, THRESHOLD, PERIOD, 0, NOTICE);
        vm.expectRevert(TokenVoteApp.InvalidParameters.selector);
        new TokenVoteApp(token, THRESHOLD, PERIOD, 10_001, NOTICE);
    }

    function test_constructor_refuses_a_token_without_clock_or_history() public {
        vm.expectRevert();
        new TokenVoteApp(IERC5805(STRANGER), THRESHOLD, PERIOD, QUORUM, NOTICE);
        vm.expectRevert();
        new TokenVoteApp(IERC5805(address(kms)), THRESHOLD, PERIOD, QUORUM, NOTICE);
    }

    // ------------------------------------------------------------ from proposal to verdict

    function test_addition_from_proposal_to_verdict() public {
        _assertAnswer(address(app), COMPOSE, NOT_IN);
        uint256 snapshot = block.number;
        vm.expectEmit(address(app));
        emit TokenVoteApp.Proposed(1, COMPOSE, ALICE, true, NOTE);
        uint256 id = _propose(ALICE, COMPOSE, true);
        vm.assertEq(id, 1);
        vm.assertEq(app.proposalCount(), 1);
        _assertState(id, TokenVoteApp.State.Pending);

        _blocks(1);
        _assertState(id, TokenVoteApp.State.Active);
        vm.assertEq(app.quorum(id), 250 ether);
        vm.expectEmit(address(app));
        emit TokenVoteApp.VoteCast(id, ALICE, true, 300 ether);
        _vote(ALICE, id, true);
        _vote(BOB, id, false);
        vm.assertTrue(app.hasVoted(id, ALICE));
        vm.assertTrue(app.hasVoted(id, BOB));
        vm.assertFalse(app.hasVoted(id, CAROL));
        _assertProposal(id, snapshot, false);

        _blocks(PERIOD - 1);
        _assertState(id, TokenVoteApp.State.Active);
        _blocks(1);
        _assertState(id, TokenVoteApp.State.Accepted);
        _assertAnswer(address(app), COMPOSE, NOT_IN);

        vm.expectEmit(address(app));
        emit TokenVoteApp.ComposeHashVotedIn(id, COMPOSE, START + NOTICE);
        _execute(id); // by a stranger
        _assertState(id, TokenVoteApp.State.Executed);
        _assertProposal(id, snapshot, true);
        vm.assertEq(app.takesEffectAt(COMPOSE), START + NOTICE);
        vm.assertEq(app.lastDecision(COMPOSE), id);

        _assertAnswer(address(app), COMPOSE, "Compose hash takes effect at 1700172800");
        vm.warp(START + NOTICE - 1);
        _assertAnswer(address(app), COMPOSE, "Compose hash takes effect at 1700172800");
        vm.warp(START + NOTICE);
        _assertAnswer(address(app), COMPOSE, "");
        _assertAnswer(address(app), keccak256("another"), NOT_IN);
        _assertAnswer(address(app), 0, NOT_IN);
        _assertKmsRulesFirst(address(app), COMPOSE);
    }

    function test_removal_takes_effect_at_once() public {
        _letRun(COMPOSE);
        uint256 id = _accepted(COMPOSE, false);
        _assertAnswer(address(app), COMPOSE, "");
        vm.expectEmit(address(app));
        emit TokenVoteApp.ComposeHashVotedOut(id, COMPOSE);
        _execute(id);
        vm.assertEq(app.takesEffectAt(COMPOSE), 0);
        vm.assertEq(app.lastDecision(COMPOSE), id);
        _assertAnswer(address(app), COMPOSE, OUT);
    }

    function test_removal_during_the_notice() public {
        _execute(_accepted(COMPOSE, true));
        _assertAnswer(address(app), COMPOSE, "Compose hash takes effect at 1700172800");
        _execute(_accepted(COMPOSE, false));
        vm.warp(START + NOTICE);
        _assertAnswer(address(app), COMPOSE, OUT);
    }

    function test_a_new_addition_after_a_removal_has_its_full_notice() public {
        _letRun(COMPOSE);
        _execute(_accepted(COMPOSE, false));
        _execute(_accepted(COMPOSE, true));
        vm.assertEq(app.takesEffectAt(COMPOSE), block.timestamp + NOTICE);
        _assertAnswer(address(app), COMPOSE, "Compose hash takes effect at 1700345600");
    }

    function test_adding_again_stops_nothing() public {
        _letRun(COMPOSE);
        uint256 id = _accepted(COMPOSE, true);
        vm.expectEmit(address(app));
        emit TokenVoteApp.ComposeHashVotedIn(id, COMPOSE, START + NOTICE);
        _execute(id);
        vm.assertEq(app.takesEffectAt(COMPOSE), START + NOTICE);
        _assertAnswer(address(app), COMPOSE, "");
    }

    function test_no_notice() public {
        app = new TokenVoteApp(token, THRESHOLD, PERIOD, QUORUM, 0);
        kms.registerApp(address(app));
        _execute(_accepted(COMPOSE, true));
        _assertAnswer(address(app), COMPOSE, "");
    }

    function test_token_that_counts_seconds() public {
        token = new VotesToken(true);
        _give(ALICE, 1 ether);
        vm.warp(START + 1);
        app = new TokenVoteApp(token, 1 ether, 1 hours, 10_000, NOTICE);
        kms.registerApp(address(app));
        uint256 id = _propose(ALICE, COMPOSE, true);
        vm.warp(START + 2);
        _vote(ALICE, id, true);
        vm.warp(START + 1 + 1 hours);
        _assertState(id, TokenVoteApp.State.Active);
        vm.warp(START + 2 + 1 hours);
        _execute(id);
        vm.warp(START + 2 + 1 hours + NOTICE);
        _assertAnswer(address(app), COMPOSE, "");
    }

    // ------------------------------------------------------------ proposing

    function test_proposing_needs_the_threshold() public {
        _propose(CAROL, COMPOSE, true); // exactly enough
        vm.prank(CAROL);
        token.transfer(STRANGER, 1);
        // What counts is the tick before.
        _propose(CAROL, COMPOSE, true);
        _blocks(1);
        _expectBelowThreshold(CAROL, THRESHOLD - 1);
        _propose(CAROL, COMPOSE, true);
        // Tokens without a delegate are no votes.
        _expectBelowThreshold(STRANGER, 0);
        _propose(STRANGER, COMPOSE, true);
        vm.assertEq(app.proposalCount(), 2);
    }

    function test_tokens_of_this_tick_do_not_propose() public {
        _give(STRANGER, THRESHOLD);
        _expectBelowThreshold(STRANGER, 0);
        _propose(STRANGER, COMPOSE, true);
    }

    function test_threshold_zero_lets_everybody_propose() public {
        app = new TokenVoteApp(token, 0, PERIOD, QUORUM, NOTICE);
        vm.assertEq(_propose(STRANGER, COMPOSE, true), 1);
    }

    function test_unknown_proposals() public {
        _propose(ALICE, COMPOSE, true);
        _blocks(1);
        for (uint256 id = 0; id < 3; id += 2) {
            bytes memory unknown = abi.encodeWithSelector(TokenVoteApp.UnknownProposal.selector, id);
            vm.expectRevert(unknown);
            app.state(id);
            vm.expectRevert(unknown);
            app.castVote(id, true);
            vm.expectRevert(unknown);
            app.execute(id);
        }
    }

    // ------------------------------------------------------------ voting

    function test_nobody_votes_twice() public {
        uint256 id = _active(COMPOSE, true);
        _vote(ALICE, id, true);
        for (uint256 i = 0; i < 2; i++) {
            vm.expectRevert(abi.encodeWithSelector(TokenVoteApp.AlreadyVoted.selector, id, ALICE));
            _vote(ALICE, id, i == 0);
        }
        _assertVotes(id, 300 ether, 0);
        // Another proposal is another vote.
        _vote(ALICE, _active(COMPOSE, false), true);
    }

    function test_tokens_moved_after_the_snapshot_vote_once() public {
        uint256 id = _active(COMPOSE, true);
        _vote(ALICE, id, true);
        vm.prank(ALICE);
        token.transfer(CAROL, 300 ether);
        vm.prank(BOB);
        token.transfer(STRANGER, 200 ether);
        vm.prank(STRANGER);
        token.delegate(STRANGER);
        _blocks(1);

        _vote(CAROL, id, true); // with what she had
        _vote(BOB, id, false); // with what he had
        _expectNoVotes(id, STRANGER);
        _vote(STRANGER, id, true);
        _assertVotes(id, 300 ether + THRESHOLD, 200 ether);
    }

    /// @dev Borrowed and given back within the tick of the proposal: worth nothing.
    function test_flash_loan_in_the_tick_of_the_snapshot() public {
        vm.prank(STRANGER);
        token.delegate(STRANGER);
        vm.prank(ALICE);
        token.transfer(STRANGER, 300 ether);
        uint256 id = _propose(CAROL, COMPOSE, true);
        vm.prank(STRANGER);
        token.transfer(ALICE, 790 ether);
        _blocks(1);
        _expectNoVotes(id, STRANGER);
        _vote(STRANGER, id, true);
    }

    function test_delegates_vote_for_their_delegators() public {
        vm.prank(BOB);
        token.delegate(CAROL);
        uint256 id = _active(COMPOSE, true);
        _vote(CAROL, id, true);
        _assertVotes(id, 200 ether + THRESHOLD, 0);
        _expectNoVotes(id, BOB);
        _vote(BOB, id, true);
    }

    function test_votes_count_in_the_voting_period_only() public {
        uint256 id = _propose(ALICE, COMPOSE, true);
        _expectWrongState(id, TokenVoteApp.State.Pending);
        _vote(ALICE, id, true);
        _blocks(PERIOD); // the last block
        _vote(ALICE, id, true);
        _blocks(1);
        _expectWrongState(id, TokenVoteApp.State.Accepted);
        _vote(BOB, id, false);
    }

    // ------------------------------------------------------------ counting

    /// @dev A supply of 1000, of which 250 must be in favour.
    function test_quorum_to_the_unit() public {
        vm.prank(ALICE);
        token.transfer(BOB, 50 ether + 1);
        uint256 id = _active(COMPOSE, true);
        _vote(ALICE, id, true);
        _blocks(PERIOD);
        _assertState(id, TokenVoteApp.State.Defeated);
        _expectWrongState(id, TokenVoteApp.State.Defeated);
        _execute(id);
        _assertAnswer(address(app), COMPOSE, NOT_IN);

        vm.prank(BOB);
        token.transfer(ALICE, 1);
        id = _active(COMPOSE, true);
        _vote(ALICE, id, true);
        _blocks(PERIOD);
        _assertState(id, TokenVoteApp.State.Accepted);
    }

    /// @dev Who is against cannot lend a proposal its quorum.
    function test_votes_against_are_no_quorum() public {
        uint256 id = _active(COMPOSE, true);
        _vote(BOB, id, true);
        _vote(CAROL, id, false);
        _blocks(PERIOD);
        _assertState(id, TokenVoteApp.State.Defeated);
    }

    function test_a_tie_and_a_silent_vote_are_defeats() public {
        vm.prank(BOB);
        token.transfer(CAROL, 200 ether);
        _give(CAROL, 90 ether);
        uint256 tie = _active(COMPOSE, true);
        uint256 silent = _propose(ALICE, COMPOSE, false);
        _vote(ALICE, tie, true);
        _vote(CAROL, tie, false);
        _assertVotes(tie, 300 ether, 300 ether);
        _blocks(PERIOD + 1);
        _assertState(tie, TokenVoteApp.State.Defeated);
        _assertState(silent, TokenVoteApp.State.Defeated);
    }

    function test_quorum_is_that_of_the_snapshot() public {
        uint256 id = _active(COMPOSE, true);
        token.mint(STRANGER, 1_000_000 ether);
        _blocks(1);
        vm.assertEq(app.quorum(id), 250 ether);
    }

    function test_quorum_is_not_known_before_the_snapshot() public {
        uint256 id = _propose(ALICE, COMPOSE, true);
        vm.expectRevert(
            abi.encodeWithSelector(Votes.ERC5805FutureLookup.selector, block.number, block.number)
        );
        app.quorum(id);
    }

    function test_quorum_is_rounded_up() public {
        token = new VotesToken(false);
        _give(ALICE, 1);
        _blocks(1);
        app = new TokenVoteApp(token, 0, PERIOD, 1, NOTICE);
        vm.assertEq(app.quorum(_active(COMPOSE, true)), 1);
    }

    function testFuzz_verdict_of_the_vote(uint256 a, uint256 b, uint256 c, uint16 quorum, uint8 votes)
        public
    {
        a = _bound(a, 1, type(uint128).max);
        b = _bound(b, 1, type(uint128).max);
        c = _bound(c, 0, type(uint128).max);
        quorum = uint16(_bound(quorum, 1, 10_000));
        token = new VotesToken(false);
        _give(ALICE, a);
        _give(BOB, b);
        token.mint(STRANGER, c);
        _blocks(1);
        app = new TokenVoteApp(token, 0, PERIOD, quorum, NOTICE);
        kms.registerApp(address(app));

        uint256 id = _active(COMPOSE, true);
        uint256 inFavour;
        uint256 against;
        if (votes & 1 != 0) {
            _vote(ALICE, id, votes & 2 != 0);
            if (votes & 2 != 0) inFavour += a;
            else against += a;
        }
        if (votes & 4 != 0) {
            _vote(BOB, id, votes & 8 != 0);
            if (votes & 8 != 0) inFavour += b;
            else against += b;
        }
        _assertVotes(id, inFavour, against);
        _blocks(PERIOD);
        // The same rule, without a division.
        bool won = inFavour > against && inFavour * 10_000 >= (a + b + c) * quorum;
        if (!won) _expectWrongState(id, TokenVoteApp.State.Defeated);
        _execute(id);
        vm.warp(block.timestamp + NOTICE);
        _assertAnswer(address(app), COMPOSE, won ? "" : NOT_IN);
    }

    // ------------------------------------------------------------ executing

    function test_execution_needs_an_accepted_proposal() public {
        uint256 id = _propose(ALICE, COMPOSE, true);
        _expectWrongState(id, TokenVoteApp.State.Pending);
        _execute(id);
        _blocks(1);
        _vote(ALICE, id, true);
        _expectWrongState(id, TokenVoteApp.State.Active);
        _execute(id);
        _blocks(PERIOD);
        _execute(id);
        _expectWrongState(id, TokenVoteApp.State.Executed);
        _execute(id);
    }

    /// @dev An addition that nobody executed cannot undo a later removal.
    function test_a_later_decision_supersedes_an_earlier_one() public {
        uint256 addition = _accepted(COMPOSE, true);
        uint256 unrelated = _accepted(keccak256("another"), true);
        uint256 removal = _accepted(COMPOSE, false);
        _execute(removal);
        _assertState(addition, TokenVoteApp.State.Superseded);
        _expectWrongState(addition, TokenVoteApp.State.Superseded);
        _execute(addition);
        vm.warp(START + NOTICE);
        _assertAnswer(address(app), COMPOSE, OUT);
        _execute(unrelated);
    }

    /// @dev Two votes of the same block: whoever executes in whichever order, the second decides.
    function testFuzz_order_of_execution_does_not_matter(bool firstAdds, bool secondAdds, bool reverse)
        public
    {
        uint256 first = _propose(ALICE, COMPOSE, firstAdds);
        uint256 second = _propose(ALICE, COMPOSE, secondAdds);
        _blocks(1);
        _vote(ALICE, first, true);
        _vote(ALICE, second, true);
        _blocks(PERIOD);
        _execute(reverse ? second : first);
        if (reverse) _expectWrongState(first, TokenVoteApp.State.Superseded);
        _execute(reverse ? first : second);
        vm.warp(START + NOTICE);
        vm.assertEq(app.lastDecision(COMPOSE), second);
        _assertAnswer(address(app), COMPOSE, secondAdds ? "" : OUT);
    }

    function testFuzz_notice(uint32 notice, uint32 passed) public {
        app = new TokenVoteApp(token, THRESHOLD, PERIOD, QUORUM, notice);
        kms.registerApp(address(app));
        _execute(_accepted(COMPOSE, true));
        vm.warp(START + passed);
        string memory early = string.concat("Compose hash takes effect at ", vm.toString(START + notice));
        _assertAnswer(address(app), COMPOSE, passed < notice ? early : "");
    }

    // ------------------------------------------------------------ helpers

    function _give(address account, uint256 amount) private {
        vm.prank(account);
        token.delegate(account);
        token.mint(account, amount);
    }

    function _blocks(uint256 count) private {
        vm.roll(block.number + count);
    }

    function _propose(address proposer, bytes32 composeHash, bool add) private returns (uint256) {
        vm.prank(proposer);
        return app.propose(composeHash, add, NOTE);
    }

    function _active(bytes32 composeHash, bool add) private returns (uint256 id) {
        id = _propose(ALICE, composeHash, add);
        _blocks(1);
    }

    function _accepted(bytes32 composeHash, bool add) private returns (uint256 id) {
        id = _active(composeHash, add);
        _vote(ALICE, id, true);
        _blocks(PERIOD);
        _assertState(id, TokenVoteApp.State.Accepted);
    }

    function _letRun(bytes32 composeHash) private {
        _execute(_accepted(composeHash, true));
        vm.warp(block.timestamp + NOTICE);
        _assertAnswer(address(app), composeHash, "");
    }

    function _vote(address voter, uint256 id, bool support) private {
        vm.prank(voter);
        app.castVote(id, support);
    }

    function _execute(uint256 id) private {
        vm.prank(STRANGER);
        app.execute(id);
    }

    function _assertState(uint256 id, TokenVoteApp.State expected) private view {
        vm.assertEq(uint256(app.state(id)), uint256(expected));
    }

    function _assertVotes(uint256 id, uint256 inFavour, uint256 against) private view {
        (,,,,,, uint256 forVotes, uint256 againstVotes,) = app.proposals(id);
        vm.assertEq(forVotes, inFavour);
        vm.assertEq(againstVotes, against);
    }

    /// @dev Everything that is stored of the addition that ALICE proposed.
    function _assertProposal(uint256 id, uint256 start, bool done) private view {
        (
            bytes32 composeHash,
            address proposer,
            uint48 snapshot,
            uint48 deadline,
            bool add,
            bool executed,,,
        ) = app.proposals(id);
        vm.assertEq(composeHash, COMPOSE);
        vm.assertEq(proposer, ALICE);
        vm.assertEq(snapshot, start);
        vm.assertEq(deadline, start + PERIOD);
        vm.assertTrue(add);
        vm.assertEq(executed, done);
        (,,,,,,,, string memory noteUri) = app.proposals(id);
        vm.assertEq(noteUri, NOTE);
        _assertVotes(id, 300 ether, 200 ether);
    }

    function _expectWrongState(uint256 id, TokenVoteApp.State current) private {
        vm.expectRevert(abi.encodeWithSelector(TokenVoteApp.WrongState.selector, id, current));
    }

    function _expectNoVotes(uint256 id, address voter) private {
        vm.expectRevert(abi.encodeWithSelector(TokenVoteApp.NoVotes.selector, id, voter));
    }

    function _expectBelowThreshold(address proposer, uint256 votes) private {
        vm.expectRevert(
            abi.encodeWithSelector(TokenVoteApp.BelowProposalThreshold.selector, proposer, votes, THRESHOLD)
        );
    }
}
